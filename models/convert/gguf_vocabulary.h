// A model's tokenizer.json as llama.cpp has vocabularies in GGUF files (tokenizer.ggml.*, tokenizer.chat_template).
//
// BPE by characters with bytes to fall back on (Llama 2) becomes a SentencePiece vocabulary, "llama", in which the
// merge that makes a token gives its score; byte-level BPE (Llama 3) becomes "gpt2", whose way of cutting words goes by
// a name. What llama.cpp has no name for is refused: it would cut texts otherwise.
#pragma once

#include "ggq/io/gguf_output.h"
#include "models/model.h"

namespace ggq {

void add_vocabulary(const Model& model, GgufEntries& entries);

}  // namespace ggq
