// The vocabulary and the chat template that a GGUF file of llama.cpp carries (tokenizer.ggml.*,
// tokenizer.chat_template).
//
// "llama" is a SentencePiece model of BPE (sentencepiece.h), whose prefix stands behind special tokens too; "gpt2" a
// byte-level BPE, whose way of cutting words goes by a name (tokenizer.ggml.pre), a row of a table here each. Texts
// become tokens as in llama.cpp; it brings no text into a normal form. Source: llama.cpp, src/llama-vocab.cpp.
#pragma once

#include <optional>

#include "ggq/io/gguf.h"
#include "models/text/chat_template.h"
#include "models/text/special_tokens.h"
#include "models/text/tokenizer.h"

namespace ggq {

// Throws Error for a kind of vocabulary, or a way of cutting words, that is not known.
Tokenizer tokenizer_of(const Gguf& gguf);

// What begins and ends a text, and the names that templates know tokens by.
SpecialTokens special_tokens_of(const Gguf& gguf);

// Nothing where the file has none.
std::optional<ChatTemplate> chat_template_of(const Gguf& gguf);

}  // namespace ggq
