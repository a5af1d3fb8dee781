#include "models/text/chat_template.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/gguf.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/jinja/render.h"
#include "models/text/gguf_tokenizer.h"
#include "models/text/named_templates.h"
#include "models/text/special_tokens.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using jinja::Dict;
using jinja::Mark;
using jinja::Text;
using jinja::Value;
using nlohmann::json;

struct Sources {
    std::string plain, with_tools, file;
};

// A template, or a list of {"name", "template"}.
Sources sources_of(const json& value, const std::string& file) {
    if (value.is_string()) return {value, "", file};
    Sources sources{"", "", file};
    require(value.is_array(), "{}: chat_template: expected a text or a list of named templates, got {}", file,
            shown_json(value));
    for (const json& item : value) {
        require(
            item.is_object() && item.value("name", json()).is_string() && item.value("template", json()).is_string(),
            "{}: chat_template: expected name and template, got {}", file, shown_json(item));
        if (item["name"] == "default") sources.plain = item["template"];
        if (item["name"] == "tool_use") sources.with_tools = item["template"];
    }
    require(!sources.plain.empty() || !sources.with_tools.empty(),
            "{}: chat_template: expected one that is named default among {}", file, value.size());
    if (sources.plain.empty()) sources.plain = sources.with_tools;
    return sources;
}

std::optional<Sources> sources_in(const fs::path& folder) {
    if (const fs::path file = folder / kChatTemplates[0]; is_there(file)) {
        Sources sources{read_side_file(file), "", file.string()};
        const fs::path tools = folder / "additional_chat_templates" / "tool_use.jinja";
        if (is_there(tools)) sources.with_tools = read_side_file(tools);
        return sources;
    }
    for (const char* name : {kChatTemplates[1], kTokenizerConfig}) {
        const fs::path file = folder / name;
        if (!is_there(file)) continue;
        const json content = parse_json(read_side_file(file), file.string());
        if (content.is_object() && content.contains("chat_template") && !content["chat_template"].is_null())
            return sources_of(content["chat_template"], file.string());
    }
    return std::nullopt;
}

// The value with all its texts marked as the words of `source`, but for whose they are.
Value marked(const Value& value, int source) {
    if (const Text* text = value.text()) return Text(text->str(), source);
    if (const jinja::List* list = value.list()) {
        std::vector<Value> items;
        for (const Value& item : list->items) items.push_back(marked(item, source));
        return Value::list(std::move(items));
    }
    const Dict* dict = value.dict();
    if (dict == nullptr) return value;
    Dict out;
    for (const auto& [key, item] : dict->items) {
        const std::string name = key.to_text().str();
        const bool words = name != "role" && name != "type" && name != "id";
        out.items.emplace_back(key, words ? marked(item, source) : item);
    }
    return Value::dict(std::move(out));
}

// Messages whose words are marked by their number.
Value marked_messages(const Conversation& conversation) {
    std::vector<Value> items;
    for (size_t i = 0; i < conversation.n_messages(); ++i)
        items.push_back(marked(conversation.messages.list()->items[i], static_cast<int>(i)));
    return Value::list(std::move(items));
}

bool answers(const Conversation& conversation, size_t message) { return role_of(conversation, message) == "assistant"; }

// Where {% generation %} was: all of them, or, where each answer has one, those of answers that carry loss.
std::vector<TextRange> generated(const Text& text, const Conversation& conversation) {
    std::vector<TextRange> ranges;
    for (const Mark& mark : text.marks())
        if (mark.source == jinja::kGenerated) ranges.push_back({mark.begin, mark.end});
    std::vector<size_t> turns;
    for (size_t i = 0; i < conversation.n_messages(); ++i)
        if (answers(conversation, i)) turns.push_back(i);
    if (turns.size() != ranges.size()) return ranges;
    std::vector<TextRange> kept;
    for (size_t i = 0; i < turns.size(); ++i)
        if (std::ranges::binary_search(conversation.loss_turns, turns[i])) kept.push_back(ranges[i]);
    return kept;
}

// Where the words of answers that carry loss stand. Words of one message with none of another's between them are one
// range, and what the template wrote between is part of it.
std::vector<TextRange> spoken(const Text& text, const Conversation& conversation, const std::string& opening) {
    std::vector<TextRange> ranges;
    int speaker = -1;
    size_t before = 0;  // where the words of the message in front end
    for (const Mark& mark : text.marks()) {
        const bool wanted = std::ranges::binary_search(conversation.loss_turns, static_cast<size_t>(mark.source));
        if (wanted && mark.source == speaker) {
            ranges.back().end = mark.end;
        } else if (wanted) {
            const std::string_view between = text.view().substr(before, mark.begin - before);
            const size_t opened = opening.empty() ? std::string_view::npos : between.rfind(opening);
            const size_t begin = opened == std::string_view::npos ? mark.begin : before + opened + opening.size();
            ranges.push_back({begin, mark.end});
        }
        speaker = mark.source;
        before = mark.end;
    }
    return ranges;
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source, const std::string& name,
                           std::vector<std::pair<std::string, std::string>> tokens)
    : plain_(std::make_shared<jinja::Template>(source, name)), tokens_(std::move(tokens)), opening_(opening()) {}

std::optional<ChatTemplate> ChatTemplate::of_folder(const fs::path& folder) {
    if (is_gguf(folder)) return chat_template_of(GgufFile(folder).content());
    const std::optional<Sources> sources = sources_in(folder);
    if (!sources) return std::nullopt;
    ChatTemplate chat(sources->plain, sources->file, read_special_tokens(folder).texts);
    if (!sources->with_tools.empty())
        chat.with_tools_ = std::make_shared<jinja::Template>(sources->with_tools, sources->file + " (tool_use)");
    return chat;
}

ChatTemplate ChatTemplate::of_file(const fs::path& file, const fs::path& folder) {
    return {read_text_file(file), file.string(), read_special_tokens(folder).texts};
}

ChatTemplate ChatTemplate::named(const std::string& name, const fs::path& folder) {
    return {named_template(name), name, read_special_tokens(folder).texts};
}

const std::vector<std::string>& ChatTemplate::names() { return named_template_names(); }

bool ChatTemplate::is_name(const std::string& name) { return std::ranges::find(names(), name) != names().end(); }

ChatTemplate ChatTemplate::chosen(const std::string& name, const fs::path& file, const fs::path& folder) {
    if (!file.empty()) return of_file(file, folder);
    if (is_name(name)) return named(name, folder);
    std::optional<ChatTemplate> own = of_folder(folder);
    require(own.has_value(),
            "{} has no chat template; name one with `template` ({}), or give a file of Jinja with `chat_template`",
            folder.string(), fmt::join(names(), ", "));
    return std::move(*own);
}

const jinja::Template& ChatTemplate::for_tools(bool tools) const {
    return tools && with_tools_ != nullptr ? *with_tools_ : *plain_;
}

Text ChatTemplate::rendered(const Conversation& conversation, bool open) const {
    Dict variables;
    variables.set("messages", marked_messages(conversation));
    variables.set("tools", conversation.tools);
    variables.set("documents", Value());
    variables.set("add_generation_prompt", open);
    for (const auto& [name, text] : tokens_) variables.set(name, text);
    const bool tools = conversation.tools.list() != nullptr;
    return for_tools(tools).render(variables, now_ ? *now_ : std::time(nullptr));
}

// What the template puts behind a conversation that an answer is to follow. Nothing where it makes no difference, or
// where it takes no such conversation.
std::string ChatTemplate::opening() const try {
    const Conversation asked = single_turn("", "x");
    const std::string closed = rendered(asked, false).str(), open = rendered(asked, true).str();
    return open.starts_with(closed) ? open.substr(closed.size()) : "";
} catch (const Error&) {
    return "";
}

ChatText ChatTemplate::render(const Conversation& conversation, bool open) const {
    const Text text = rendered(conversation, open);
    ChatText chat{text.str(), {}};
    const bool by_marks =
        std::ranges::any_of(text.marks(), [](const Mark& mark) { return mark.source == jinja::kGenerated; });
    chat.answers = by_marks ? generated(text, conversation) : spoken(text, conversation, opening_);
    return chat;
}

}  // namespace ggq
