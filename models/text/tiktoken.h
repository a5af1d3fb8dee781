// Files of ranks as tiktoken has them: a line a token, its bytes in base64 and its rank, which is its id. Llama 3's
// original tokenizer.model is one.
//
// A word that is a token as a whole is that one; else the neighbours merge that make the token of the lowest rank.
// Words are cut as Llama 3's are (and cl100k's, whose expression it is). Such a file has no special tokens: those of
// Llama 3.1 go with its 128,000 ranks, unless the folder names others.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace ggq {

// As a tokenizer.json; `where` names the file in errors.
nlohmann::json parse_tiktoken(std::string_view file, const std::string& where, bool with_special);

inline constexpr const char* kLlama3Bos = "<|begin_of_text|>";
inline constexpr const char* kLlama3Eos = "<|end_of_text|>";

// How Llama 3 cuts words.
extern const char* const kLlama3Words;

}  // namespace ggq
