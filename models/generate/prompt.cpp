#include "models/generate/prompt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/template.h"

namespace ggq {

namespace {

std::string in_template(const std::string& text, const std::string& name) {
    for (const Form form : {Form::alpaca, Form::alpaca_short})
        if (name == form_name(form)) return alpaca_prompt(text, {}, form);
    return text;
}

// A chat template writes BOS itself.
OpenText encode_chat(const Conversation& conversation, const PromptForm& form, const Tokenizer& tokenizer) {
    const ChatText chat = form.chat->render(conversation, true);
    return {.tokens = tokenizer.encode_with_offsets(chat.text, {.add_special = false})};
}

Prompt checked(const OpenText& open, const Tokenizer& tokenizer, int64_t vocab_size, const std::string& name) {
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

}  // namespace

PromptForm prompt_form(const GenerateOptions& options, const std::filesystem::path& folder) {
    const std::string& name = options.template_name;
    if (is_chat(options)) return {"", ChatTemplate::chosen(name, options.chat_template, folder), options.system};
    require(name.empty() || name == form_name(Form::alpaca) || name == form_name(Form::alpaca_short),
            "`template`: expected alpaca, alpaca-short, chat, a chat template ({}) or nothing, got '{}'",
            fmt::join(ChatTemplate::names(), ", "), shown(name));
    return {name, std::nullopt, ""};
}

std::optional<int32_t> PromptForm::end_of_answer(const Tokenizer& tokenizer) const {
    if (!chat) return std::nullopt;
    const std::string answer = "x";
    const ChatText text = chat->render(single_turn("", "x", &answer), false);
    if (text.answers.empty()) return std::nullopt;
    for (const Token& token : tokenizer.encode_with_offsets(text.text, {.add_special = false}))
        if (token.begin >= text.answers[0].end && tokenizer.is_special(token.id)) return token.id;
    return std::nullopt;
}

Prompt encode_prompt(const std::string& text, const PromptForm& form, const Tokenizer& tokenizer, int64_t vocab_size,
                     const std::string& name) {
    const OpenText open = form.chat ? encode_chat(single_turn(form.system, text), form, tokenizer)
                                    : tokenizer.encode_open(in_template(text, form.name));
    return checked(open, tokenizer, vocab_size, name);
}

Prompt encode_prompt(const Conversation& conversation, const PromptForm& form, const Tokenizer& tokenizer,
                     int64_t vocab_size, const std::string& name) {
    try {
        return checked(encode_chat(conversation, form, tokenizer), tokenizer, vocab_size, name);
    } catch (const Error& error) {
        const std::string_view said = error.what();
        fail("{}{}", said.starts_with(name) ? "" : name + ": ", said);
    }
}

std::optional<std::string> explain_no_answer(const Tokenizer& tokenizer, const PromptForm& form) {
    if (form.chat || !tokenizer.has_chat_template()) return std::nullopt;
    return "the answer is empty: this model was taught to talk in the form of its chat template, which was not "
           "applied; ask for it with `template` chat";
}

}  // namespace ggq
