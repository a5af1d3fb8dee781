// From the regular expressions of tokenizer files, written for Oniguruma in Ruby's syntax, to those of PCRE2.
//
// What the two read differently is rewritten: \s, \w and the POSIX classes (Unicode's properties as Oniguruma has
// them), \h (a hexadecimal digit), \v, (?m) (a dot takes the end of a line), {,n}, and quantifiers behind {n,m}. What
// could loop, call code, jump or leave the text is refused, as is what PCRE2 has no word for: an expression comes with
// a model, from anywhere.
#pragma once

#include <string>
#include <string_view>

namespace ggq {

std::string pcre2_pattern(std::string_view ruby);

}  // namespace ggq
