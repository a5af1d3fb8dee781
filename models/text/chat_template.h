// Conversations become text by the chat template of a model's folder, of a file, or by a named one.
//
// The folder's is chat_template.jinja, else what chat_template.json or tokenizer_config.json hold under chat_template:
// a template, or a list of named ones, of which "default" is taken, and "tool_use" where tools are given. Where a
// folder is asked for, a GGUF file is one too (gguf_tokenizer.h).
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/jinja/template.h"
#include "models/text/conversation.h"
#include "models/text/regex.h"

namespace ggq {

struct ChatText {
    std::string text;
    // What the model is to say, in order: by {% generation %} where the template marks it, else where the words of the
    // answers came to stand, with what stands between them and the prompt that a generation would begin with. What
    // ends an answer is not part of it: the end token that follows is the tokenizer's to know.
    std::vector<TextRange> answers;
};

class ChatTemplate {
public:
    // `tokens` are the variables that name special tokens: {"bos_token", "<s>"}. Throws Error for what is no template.
    ChatTemplate(const std::string& source, const std::string& name,
                 std::vector<std::pair<std::string, std::string>> tokens);

    // Nothing where the folder has none.
    static std::optional<ChatTemplate> of_folder(const std::filesystem::path& folder);
    // From a file of Jinja; special tokens by the model's folder.
    static ChatTemplate of_file(const std::filesystem::path& file, const std::filesystem::path& folder);
    // One of those that `names()` lists; special tokens by the model's folder.
    static ChatTemplate named(const std::string& name, const std::filesystem::path& folder);
    static const std::vector<std::string>& names();
    static bool is_name(const std::string& name);
    // Of the file, if one is given, else by the name, if it is of `names()`, else of the model's folder. Throws Error
    // where that has none.
    static ChatTemplate chosen(const std::string& name, const std::filesystem::path& file,
                               const std::filesystem::path& folder);

    // With `open` what an answer begins with stands at its end. Throws Error: what the template refuses.
    ChatText render(const Conversation& conversation, bool open) const;

    void set_time(std::time_t now) { now_ = now; }  // what strftime_now() tells; else the time of the call

private:
    jinja::Text rendered(const Conversation& conversation, bool open) const;
    const jinja::Template& for_tools(bool tools) const;
    std::string opening() const;

    std::shared_ptr<const jinja::Template> plain_, with_tools_;  // the latter may be null
    std::vector<std::pair<std::string, std::string>> tokens_;
    std::optional<std::time_t> now_;
    std::string opening_;  // what an open conversation ends with: "<|im_start|>assistant\n"
};

}  // namespace ggq
