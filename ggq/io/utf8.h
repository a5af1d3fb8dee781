// UTF-8: code points of a valid text, finding the first bad byte, and mending a stream of bytes for display.
//
// Valid means Unicode's table 3-7: no overlong form, no surrogate, nothing above U+10FFFF. A byte sequence that is not
// valid is replaced as Unicode recommends: one U+FFFD for each maximal beginning of a character.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ggq {

// Bytes of the character that begins with `lead`, 1 to 4; 0 where no character begins so.
int utf8_length(char lead);

// The code point at `at` of a valid text.
char32_t utf8_code_point(std::string_view text, size_t at);

// Where the character that ends just before `end` begins, in a valid text; `end` > 0.
size_t utf8_previous(std::string_view text, size_t end);

// Offset of the first byte that belongs to no whole character; nothing when all of `text` is valid.
std::optional<size_t> invalid_utf8(std::string_view text);

// Unicode's White_Space property.
bool is_white_space(char32_t code_point);

// `text` as an error message or a terminal may show it. What would be obeyed or not be seen is written as an escape:
// control characters, what turns the direction of writing, invisible marks (\n, \u001b, \u202e), and bytes that are not
// UTF-8 (\xff). Of a text of more than `most` bytes the middle is left out, and how much.
std::string shown(std::string_view text, size_t most = 200);

// A text of several lines, whole: as shown(), but line ends and tabs stay. What programs print of files' texts goes
// through one of the two.
std::string printable(std::string_view text);

// Bytes in, text out: push() gives what is complete so far and keeps the beginning of an unfinished character.
class Utf8Stream {
public:
    std::string push(std::string_view bytes);
    std::string flush();  // an unfinished character becomes one U+FFFD

private:
    std::string pending_;
};

}  // namespace ggq
