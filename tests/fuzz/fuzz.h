// What the fuzz targets share: an input becomes a text or a file, and whatever ggq::Error refuses is fine. Anything
// else that is thrown, a crash, a leak, undefined behaviour, a slow input or too much memory is a finding.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "ggq/error.h"

namespace ggq::fuzz {

// A safetensors file with this header and so many bytes of data.
inline std::string with_header(std::string_view header, size_t data_bytes) {
    const uint64_t length = header.size();
    std::string file(reinterpret_cast<const char*>(&length), sizeof length);
    return file.append(header).append(data_bytes, '\0');
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

// Runs `read`; an Error is a refusal, whose sentence must be fit to be shown.
void refuse_or_read(const auto& read) {
    try {
        read();
    } catch (const Error& error) {
        const std::string_view said = error.what();
        if (said.empty() || said.size() > 100'000) std::abort();
    }
}

// A folder of this process that goes with it.
class Folder {
public:
    Folder() : path_(std::filesystem::temp_directory_path() / ("ggq-fuzz-" + std::to_string(getpid()))) {
        std::filesystem::create_directories(path_);
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    const std::filesystem::path& path() const { return path_; }
    void write(const char* name, std::string_view text) const {
        std::ofstream(path_ / name, std::ios::binary | std::ios::trunc) << text;
    }

private:
    std::filesystem::path path_;
};

}  // namespace ggq::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
