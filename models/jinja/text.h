// A string of a template: UTF-8 that remembers which of its bytes came out of which source.
//
// Sources are numbers that the caller gives out (a message of a conversation). What is cut out of a text or joined to
// another keeps them, so that in the rendered text it is known where a message's words are, whatever the template did.
// A function that makes a text anew keeps the source of one that is of one source alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ggq::jinja {

struct Mark {
    size_t begin, end;  // bytes
    int source;

    bool operator==(const Mark&) const = default;
};

class Text {
public:
    Text() = default;
    Text(std::string text) : text_(std::move(text)) {}  // NOLINT: a string is a text without marks
    Text(const char* text) : text_(text) {}             // NOLINT
    Text(std::string_view text) : text_(text) {}        // NOLINT
    Text(std::string text, int source);

    const std::string& str() const { return text_; }
    std::string_view view() const { return text_; }
    size_t size() const { return text_.size(); }
    bool empty() const { return text_.empty(); }
    const std::vector<Mark>& marks() const { return marks_; }  // in order, apart

    void append(const Text& text);
    Text part(size_t begin, size_t end) const;  // bytes
    // `text`, made of this one: of its source, if all of this is of one.
    Text made_into(std::string text) const;

private:
    std::string text_;
    std::vector<Mark> marks_;
};

// Offsets of the characters of a valid UTF-8 text, and its size at the end: n characters, n + 1 offsets.
std::vector<size_t> character_offsets(std::string_view text);
size_t character_count(std::string_view text);

bool is_python_space(char32_t c);  // what str.isspace() says
// The part of `text` without characters at its ends for which `stripped` is true.
Text strip(const Text& text, bool left, bool right, const std::u32string* characters = nullptr);

std::u32string to_characters(std::string_view text);
std::string to_utf8(std::u32string_view characters);
char32_t to_upper(char32_t c);  // of one character to one
char32_t to_lower(char32_t c);
bool is_alphabetic(char32_t c);
bool is_digit(char32_t c);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalized(std::string_view text);
std::string titled(std::string_view text);  // as str.title() does
std::string replaced(std::string_view text, std::string_view from, std::string_view to, long most = -1);

}  // namespace ggq::jinja
