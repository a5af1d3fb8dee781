// SentencePiece models made in the test itself.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace ggq::test {

class PieceFile {
public:
    PieceFile& add(std::string_view text, float score, int type = 1) {
        std::string piece = bytes(1, text);
        const auto bits = std::bit_cast<uint32_t>(score);
        piece += '\x15';  // field 2, 32 bits
        for (unsigned shift = 0; shift < 32; shift += 8) piece += static_cast<char>(bits >> shift & 0xFF);
        if (type != 1) piece += number(3, static_cast<uint64_t>(type));
        pieces_ += bytes(1, piece);
        return *this;
    }
    PieceFile& model_type(uint64_t type) { return trainer(3, type); }
    PieceFile& bpe() { return model_type(2); }
    PieceFile& bytes_for_unknown() { return trainer(35, 1); }
    PieceFile& no_prefix() { return normalizer(number(3, 0)); }
    PieceFile& keep_spaces() { return normalizer(number(4, 0)); }
    PieceFile& map(std::string_view blob) { return normalizer(bytes(2, blob)); }

    std::string text() const { return pieces_ + bytes(2, trainer_) + bytes(3, normalizer_); }

private:
    static std::string varint(uint64_t value) {
        std::string text;
        for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
        return text + static_cast<char>(value);
    }
    static std::string number(uint64_t field, uint64_t value) { return varint(field << 3) + varint(value); }
    static std::string bytes(uint64_t field, std::string_view content) {
        return varint(field << 3 | 2) + varint(content.size()) + std::string(content);
    }
    PieceFile& trainer(uint64_t field, uint64_t value) {
        trainer_ += number(field, value);
        return *this;
    }
    PieceFile& normalizer(const std::string& field) {
        normalizer_ += field;
        return *this;
    }

    std::string pieces_, trainer_, normalizer_;
};

}  // namespace ggq::test
