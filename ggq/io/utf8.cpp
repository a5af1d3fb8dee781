#include "ggq/io/utf8.h"

#include <fmt/format.h>

#include <algorithm>

namespace ggq {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Character {
    size_t n_bytes;  // of the character, or of its maximal valid beginning (at least 1)
    bool valid;
    bool cut;  // the text ends before the character does
};

// The second byte is the only one whose range depends on the first.
bool second_byte_fits(unsigned char lead, unsigned char second) {
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

Character read_character(std::string_view text, size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const auto length = static_cast<size_t>(utf8_length(text[at]));
    if (length == 0) return {1, false, false};
    for (size_t i = 1; i < length; ++i) {
        if (at + i == text.size()) return {i, false, true};
        const auto next = static_cast<unsigned char>(text[at + i]);
        if (i == 1 ? !second_byte_fits(lead, next) : (next & 0xC0) != 0x80) return {i, false, false};
    }
    return {length, true, false};
}

struct CodeRange {
    char32_t first, last;
};

// What a terminal obeys or nobody sees: control characters, line and paragraph separators, directions, tags.
constexpr CodeRange kEscaped[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},      {0x61C, 0x61C},
                                  {0x200B, 0x200B}, {0x200E, 0x200F}, {0x2028, 0x202E},  {0x2060, 0x206F},
                                  {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE007F}};

bool is_escaped(char32_t code) {
    return std::ranges::any_of(kEscaped, [&](CodeRange r) { return code >= r.first && code <= r.last; });
}

std::string escaped(std::string_view text, std::string_view kept = {}) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
        const Character character = read_character(text, at);
        const std::string_view bytes = text.substr(at, character.n_bytes);
        at += character.n_bytes;
        if (!character.valid) {
            for (const char byte : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
            continue;
        }
        const char32_t code = utf8_code_point(bytes, 0);
        if (!is_escaped(code) || kept.find(bytes) != std::string_view::npos) out += bytes;
        else if (code == '\n') out += "\\n";
        else if (code == '\t') out += "\\t";
        else if (code == '\r') out += "\\r";
        else out += fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
    }
    return out;
}

}  // namespace

int utf8_length(char lead) {
    const auto byte = static_cast<unsigned char>(lead);
    if (byte < 0x80) return 1;
    if (byte < 0xC2 || byte > 0xF4) return 0;
    return byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

char32_t utf8_code_point(std::string_view text, size_t at) {
    const int length = utf8_length(text[at]);
    if (length <= 1) return static_cast<unsigned char>(text[at]);
    char32_t code = static_cast<unsigned char>(text[at]) & (0x7Fu >> length);
    for (int i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
    return code;
}

size_t utf8_previous(std::string_view text, size_t end) {
    do --end;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
    return end;
}

std::optional<size_t> invalid_utf8(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const Character character = read_character(text, at);
        if (!character.valid) return at;
        at += character.n_bytes;
    }
    return std::nullopt;
}

bool is_white_space(char32_t code) {
    static constexpr char32_t kOthers[] = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x2000 && code <= 0x200A) ||
           std::find(std::begin(kOthers), std::end(kOthers), code) != std::end(kOthers);
}

std::string shown(std::string_view text, size_t most) {
    if (text.size() <= most) return escaped(text);
    const auto inside = [&](size_t at) { return at > 0 && at < text.size() && utf8_length(text[at]) == 0; };
    size_t head = most - most / 4, tail = text.size() - most / 4;
    for (int i = 0; i < 3 && inside(head); ++i) --head;  // a character is not cut in two
    for (int i = 0; i < 3 && inside(tail); ++i) ++tail;
    return fmt::format("{} [... {} bytes ...] {}", escaped(text.substr(0, head)), tail - head,
                       escaped(text.substr(tail)));
}

std::string printable(std::string_view text) { return escaped(text, "\n\t"); }

std::string Utf8Stream::push(std::string_view bytes) {
    pending_ += bytes;
    std::string text;
    size_t at = 0;
    while (at < pending_.size()) {
        const Character character = read_character(pending_, at);
        if (character.cut) break;
        text += character.valid ? std::string_view(pending_).substr(at, character.n_bytes) : kReplacement;
        at += character.n_bytes;
    }
    pending_.erase(0, at);
    return text;
}

std::string Utf8Stream::flush() {
    std::string text(pending_.empty() ? std::string_view() : kReplacement);
    pending_.clear();
    return text;
}

}  // namespace ggq
