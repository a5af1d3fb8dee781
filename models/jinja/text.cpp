#include "models/jinja/text.h"

#include <algorithm>
#include <clocale>
#include <cwctype>

#include "ggq/io/utf8.h"

namespace ggq::jinja {

namespace {

// Letters are those of the C library's table for UTF-8, which every Debian has without installing a language.
class Letters {
public:
    Letters() : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {}
    ~Letters() {
        if (locale_ != nullptr) freelocale(locale_);
    }
    Letters(const Letters&) = delete;
    Letters& operator=(const Letters&) = delete;

    char32_t upper(char32_t c) const {
        if (locale_ == nullptr) return c < 128 ? static_cast<char32_t>(std::toupper(static_cast<int>(c))) : c;
        return static_cast<char32_t>(towupper_l(static_cast<wint_t>(c), locale_));
    }
    char32_t lower(char32_t c) const {
        if (locale_ == nullptr) return c < 128 ? static_cast<char32_t>(std::tolower(static_cast<int>(c))) : c;
        return static_cast<char32_t>(towlower_l(static_cast<wint_t>(c), locale_));
    }
    bool alphabetic(char32_t c) const {
        if (locale_ == nullptr) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        return iswalpha_l(static_cast<wint_t>(c), locale_) != 0 && !is_digit(c);
    }

private:
    locale_t locale_;
};

const Letters& letters() {
    static const Letters table;
    return table;
}

}  // namespace

Text::Text(std::string text, int source) : text_(std::move(text)) {
    if (!text_.empty()) marks_.push_back({0, text_.size(), source});
}

void Text::append(const Text& text) {
    const size_t at = text_.size();
    text_ += text.text_;
    for (const Mark& mark : text.marks_) {
        // What the template marked itself stays apart: each is an answer.
        if (mark.source >= 0 && !marks_.empty() && marks_.back().end == at + mark.begin &&
            marks_.back().source == mark.source)
            marks_.back().end = at + mark.end;
        else marks_.push_back({at + mark.begin, at + mark.end, mark.source});
    }
}

Text Text::part(size_t begin, size_t end) const {
    Text out(text_.substr(begin, end - begin));
    for (const Mark& mark : marks_) {
        const size_t from = std::max(mark.begin, begin), to = std::min(mark.end, end);
        if (from < to) out.marks_.push_back({from - begin, to - begin, mark.source});
    }
    return out;
}

Text Text::made_into(std::string text) const {
    const bool of_one = marks_.size() == 1 && marks_[0].begin == 0 && marks_[0].end == text_.size();
    return of_one ? Text(std::move(text), marks_[0].source) : Text(std::move(text));
}

std::vector<size_t> character_offsets(std::string_view text) {
    std::vector<size_t> offsets;
    offsets.reserve(text.size() + 1);
    for (size_t at = 0; at < text.size(); at += static_cast<size_t>(std::max(1, utf8_length(text[at]))))
        offsets.push_back(at);
    offsets.push_back(text.size());
    return offsets;
}

size_t character_count(std::string_view text) {
    size_t n = 0;
    for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
    return n;
}

bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

Text strip(const Text& text, bool left, bool right, const std::u32string* characters) {
    const auto goes = [&](char32_t c) {
        return characters != nullptr ? characters->find(c) != std::u32string::npos : is_python_space(c);
    };
    const std::string_view all = text.view();
    size_t begin = 0, end = all.size();
    while (left && begin < end && goes(utf8_code_point(all, begin)))
        begin += static_cast<size_t>(utf8_length(all[begin]));
    while (right && end > begin && goes(utf8_code_point(all, utf8_previous(all, end)))) end = utf8_previous(all, end);
    return text.part(begin, end);
}

std::u32string to_characters(std::string_view text) {
    std::u32string out;
    for (size_t at = 0; at < text.size(); at += static_cast<size_t>(std::max(1, utf8_length(text[at]))))
        out.push_back(utf8_code_point(text, at));
    return out;
}

std::string to_utf8(std::u32string_view characters) {
    std::string out;
    const auto byte = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
    const auto follow = [&](char32_t c, int shift) { byte(0x80U | ((c >> shift) & 0x3FU)); };
    for (const char32_t c : characters) {
        if (c < 0x80) {
            byte(c);
        } else if (c < 0x800) {
            byte(0xC0U | (c >> 6));
            follow(c, 0);
        } else if (c < 0x10000) {
            byte(0xE0U | (c >> 12));
            follow(c, 6);
            follow(c, 0);
        } else {
            byte(0xF0U | (c >> 18));
            follow(c, 12);
            follow(c, 6);
            follow(c, 0);
        }
    }
    return out;
}

char32_t to_upper(char32_t c) { return letters().upper(c); }
char32_t to_lower(char32_t c) { return letters().lower(c); }
bool is_alphabetic(char32_t c) { return letters().alphabetic(c); }
bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }

std::string upper(std::string_view text) {
    std::u32string all;
    for (const char32_t c : to_characters(text)) {
        if (c == U'ß') all += U"SS";  // the one letter in common use that becomes two
        else all += to_upper(c);
    }
    return to_utf8(all);
}

std::string lower(std::string_view text) {
    std::u32string all = to_characters(text);
    for (char32_t& c : all) c = to_lower(c);
    return to_utf8(all);
}

std::string capitalized(std::string_view text) {
    std::u32string all = to_characters(text);
    for (size_t i = 0; i < all.size(); ++i) all[i] = i == 0 ? to_upper(all[i]) : to_lower(all[i]);
    return to_utf8(all);
}

std::string titled(std::string_view text) {
    std::u32string all = to_characters(text);
    bool inside = false;
    for (char32_t& c : all) {
        c = inside ? to_lower(c) : to_upper(c);
        inside = is_alphabetic(c);
    }
    return to_utf8(all);
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to, long most) {
    std::string out;
    if (from.empty()) {  // between all characters, as Python does
        const std::vector<size_t> at = character_offsets(text);
        for (size_t i = 0; i < at.size(); ++i) {
            if (most < 0 || static_cast<long>(i) < most) out += to;
            if (i + 1 < at.size()) out += text.substr(at[i], at[i + 1] - at[i]);
        }
        return out;
    }
    size_t begin = 0;
    for (long n = 0; most < 0 || n < most; ++n) {
        const size_t found = text.find(from, begin);
        if (found == std::string_view::npos) break;
        out += text.substr(begin, found - begin);
        out += to;
        begin = found + from.size();
    }
    return out += text.substr(begin);
}

}  // namespace ggq::jinja
