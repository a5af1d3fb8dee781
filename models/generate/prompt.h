// The prompt of a generation: put into its template, tokenized to be continued, and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/generate/options.h"
#include "models/text/chat_template.h"
#include "models/text/conversation.h"
#include "models/text/tokenizer.h"

namespace ggq {

// What a text is put into before it is a prompt.
struct PromptForm {
    std::string name;                  // alpaca, alpaca-short, or nothing
    std::optional<ChatTemplate> chat;  // instead of it
    std::string system;                // of a conversation

    // The token by which an answer ends in the chat template, if there is one.
    std::optional<int32_t> end_of_answer(const Tokenizer& tokenizer) const;
};

// Throws Error for a template that is not known, or that the model's folder does not have.
PromptForm prompt_form(const GenerateOptions& options, const std::filesystem::path& folder);

struct Prompt {
    std::vector<int32_t> ids;
    std::vector<std::string> notes;  // what was left out of it
};

// Throws Error for a prompt without a token, and a token beyond the model's vocabulary. `name` is what it calls the
// prompt.
Prompt encode_prompt(const std::string& text, const PromptForm& form, const Tokenizer& tokenizer, int64_t vocab_size,
                     const std::string& name = "`prompt`");

// Of a whole conversation, by the form's chat template, which it must have.
Prompt encode_prompt(const Conversation& conversation, const PromptForm& form, const Tokenizer& tokenizer,
                     int64_t vocab_size, const std::string& name);

// Why a model may have had nothing to say; nothing if there is no reason to think of.
std::optional<std::string> explain_no_answer(const Tokenizer& tokenizer, const PromptForm& form);

}  // namespace ggq
