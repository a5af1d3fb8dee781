// The prompt of a generation: put into its template, tokenized to be continued, and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/text/tokenizer.h"

namespace ggq {

struct Prompt {
    std::vector<int32_t> ids;
    std::vector<std::string> notes;  // what was left out of it
};

// Throws Error for a template that is not known, a prompt without a token, and a token beyond the model's vocabulary.
// `name` is what it calls the prompt.
Prompt encode_prompt(const std::string& text, const std::string& template_name, const Tokenizer& tokenizer,
                     int64_t vocab_size, const std::string& name = "`prompt`");

// Why a model may have had nothing to say; nothing if there is no reason to think of.
std::optional<std::string> explain_no_answer(const Tokenizer& tokenizer);

}  // namespace ggq
