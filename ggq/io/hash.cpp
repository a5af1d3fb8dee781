#include "ggq/io/hash.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "ggq/io/input_file.h"

namespace ggq {

namespace {

static_assert(std::endian::native == std::endian::little, "the lanes are read as little-endian words");

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5;
constexpr uint64_t kRoundBytes = 32;

template <typename T>
T load(const unsigned char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

uint64_t mix(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }

void take_round(std::array<uint64_t, 4>& lanes, const unsigned char* from) {
    for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = mix(lanes[i], load<uint64_t>(from + 8 * i));
}

uint64_t merge_lanes(const std::array<uint64_t, 4>& lanes) {
    uint64_t hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (uint64_t lane : lanes) hash = (hash ^ mix(0, lane)) * kPrime1 + kPrime4;
    return hash;
}

uint64_t take_rest(uint64_t hash, const unsigned char* next, uint64_t n_bytes) {
    for (; n_bytes >= 8; next += 8, n_bytes -= 8)
        hash = std::rotl(hash ^ mix(0, load<uint64_t>(next)), 27) * kPrime1 + kPrime4;
    for (; n_bytes >= 4; next += 4, n_bytes -= 4)
        hash = std::rotl(hash ^ load<uint32_t>(next) * kPrime1, 23) * kPrime2 + kPrime3;
    for (; n_bytes > 0; ++next, --n_bytes) hash = std::rotl(hash ^ *next * kPrime5, 11) * kPrime1;
    return hash;
}

uint64_t avalanche(uint64_t hash) {
    hash = (hash ^ hash >> 33) * kPrime2;
    hash = (hash ^ hash >> 29) * kPrime3;
    return hash ^ hash >> 32;
}

}  // namespace

Hash64::Hash64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1} {}

void Hash64::update(const void* data, int64_t n_bytes) {
    const auto* next = static_cast<const unsigned char*>(data);
    auto left = static_cast<uint64_t>(n_bytes);
    const uint64_t held = n_bytes_ % kRoundBytes;
    n_bytes_ += left;
    if (held > 0) {
        const uint64_t taken = std::min(kRoundBytes - held, left);
        std::copy_n(next, taken, rest_.data() + held);
        next += taken;
        left -= taken;
        if (held + taken < kRoundBytes) return;
        take_round(lanes_, rest_.data());
    }
    for (; left >= kRoundBytes; next += kRoundBytes, left -= kRoundBytes) take_round(lanes_, next);
    std::copy_n(next, left, rest_.data());
}

void Hash64::update(std::string_view text) { update(text.data(), static_cast<int64_t>(text.size())); }

uint64_t Hash64::value() const {
    const uint64_t start = n_bytes_ >= kRoundBytes ? merge_lanes(lanes_) : kPrime5;
    return avalanche(take_rest(start + n_bytes_, rest_.data(), n_bytes_ % kRoundBytes));
}

std::string Hash64::hex() const { return fmt::format("{:016x}", value()); }

std::string hash_files(const std::vector<std::filesystem::path>& paths, const StopAsked& stop) {
    Hash64 hash;
    std::vector<std::byte> piece(size_t{1} << 20);
    for (const auto& path : paths) {
        const InputFile file(path);
        for (uint64_t at = 0; at < file.n_bytes(); at += piece.size()) {
            const std::span<std::byte> part(piece.data(), std::min<uint64_t>(piece.size(), file.n_bytes() - at));
            end_if_asked(stop);
            file.read(at, part);
            hash.update(part.data(), std::ssize(part));
        }
    }
    return hash.hex();
}

}  // namespace ggq
