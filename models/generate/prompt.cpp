#include "models/generate/prompt.h"

#include <fmt/format.h>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/template.h"

namespace ggq {

namespace {

std::string in_template(const std::string& text, const std::string& template_name) {
    if (template_name.empty()) return text;
    for (const Form form : {Form::alpaca, Form::alpaca_short})
        if (template_name == form_name(form)) return alpaca_prompt(text, {}, form);
    fail("`template`: expected alpaca, alpaca-short or nothing, got '{}'", shown(template_name));
}

}  // namespace

Prompt encode_prompt(const std::string& text, const std::string& template_name, const Tokenizer& tokenizer,
                     int64_t vocab_size, const std::string& name) {
    const OpenText open = tokenizer.encode_open(in_template(text, template_name));
    Prompt prompt;
    for (const Token& token : open.tokens) {
        require(token.id < vocab_size, "{}: token {} ('{}') is beyond the model's vocabulary of {}", name, token.id,
                shown(tokenizer.token_of(token.id)), vocab_size);
        prompt.ids.push_back(token.id);
    }
    if (open.has_bos)
        prompt.notes.push_back("the prompt begins with the BOS that the tokenizer adds; no second one was added");
    if (open.n_dropped > 0)
        prompt.notes.push_back(
            fmt::format("{} bytes of the prompt are left out: the vocabulary has no token for them", open.n_dropped));
    require(!prompt.ids.empty(), "{}: expected a text, got nothing and the tokenizer adds no BOS", name);
    return prompt;
}

std::optional<std::string> explain_no_answer(const Tokenizer& tokenizer) {
    if (!tokenizer.has_chat_template()) return std::nullopt;
    return "the answer is empty: this model was taught to talk in the form of its chat template, which is not applied "
           "here; write the prompt in that form";
}

}  // namespace ggq
