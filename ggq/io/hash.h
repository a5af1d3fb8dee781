// XXH64, a fast 64-bit hash that is not cryptographic: it names the base model and the data of a run, so that a change
// is noticed. Four lanes of 64 bits take 32 bytes a round. Source: the public xxHash specification, XXH64 with seed 0
// (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/stop.h"

namespace ggq {

class Hash64 {
public:
    Hash64();
    void update(const void* data, int64_t n_bytes);
    void update(std::string_view text);
    uint64_t value() const;
    std::string hex() const;  // 16 lower-case digits

private:
    std::array<uint64_t, 4> lanes_;
    std::array<unsigned char, 32> rest_{};  // the last n_bytes_ % 32 bytes, which do not fill a round yet
    uint64_t n_bytes_ = 0;
};

// The hash of the files' contents one after the other, read in pieces so that memory does not grow with the files.
std::string hash_files(const std::vector<std::filesystem::path>& paths, const StopAsked& stop = {});

}  // namespace ggq
