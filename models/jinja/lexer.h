// A template cut into tokens: text, and within {{ }} and {% %} names, literals and operators.
//
// White space is removed as Hugging Face has it removed: the newline behind a block or comment (trim_blocks), blanks in
// front of one that begins its line (lstrip_blocks), one newline at the very end, and what `-` asks for; `+` keeps it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ggq::jinja {

enum class TokenKind { text, block_begin, block_end, print_begin, print_end, name, string, integer, real, op, end };

struct LexToken {
    TokenKind kind;
    std::string text;  // of a string literal what it means, of the others how it is written
    int line;          // from 1
};

// Throws Error "NAME line N: ..." for what is not closed or is no token.
std::vector<LexToken> tokens_of(std::string_view source, const std::string& name);

}  // namespace ggq::jinja
