#include "models/generate/prompt.h"

#include <fmt/format.h>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/template.h"

namespace ggq {

namespace {

std::string in_template(const GenerateOptions& options) {
    if (options.template_name.empty()) return options.prompt;
    for (const Form form : {Form::alpaca, Form::alpaca_short})
        if (options.template_name == form_name(form)) return alpaca_prompt(options.prompt, {}, form);
    fail("`template`: expected alpaca, alpaca-short or nothing, got '{}'", shown(options.template_name));
}

}  // namespace

Prompt encode_prompt(const GenerateOptions& options, const Tokenizer& tokenizer, int64_t vocab_size) {
    const OpenText open = tokenizer.encode_open(in_template(options));
    Prompt prompt;
    for (const Token& token : open.tokens) {
        require(token.id < vocab_size, "`prompt`: token {} ('{}') is beyond the model's vocabulary of {}", token.id,
                shown(tokenizer.token_of(token.id)), vocab_size);
        prompt.ids.push_back(token.id);
    }
    if (open.has_bos)
        prompt.notes.push_back("the prompt begins with the BOS that the tokenizer adds; no second one was added");
    if (open.n_dropped > 0)
        prompt.notes.push_back(
            fmt::format("{} bytes of the prompt are left out: the vocabulary has no token for them", open.n_dropped));
    require(!prompt.ids.empty(), "`prompt`: expected a text, got nothing and the tokenizer adds no BOS");
    return prompt;
}

std::optional<std::string> explain_no_answer(const Tokenizer& tokenizer) {
    if (!tokenizer.has_chat_template()) return std::nullopt;
    return "the answer is empty: this model was taught to talk in the form of its chat template, which is not applied "
           "here; write the prompt in that form";
}

}  // namespace ggq
