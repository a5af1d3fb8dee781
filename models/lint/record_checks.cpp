#include "models/lint/record_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr std::array kMarks = {"[INST]",          "[/INST]",       "<<SYS>>", "<</SYS>>", "<s>",   "</s>",
                               "<start_of_turn>", "<end_of_turn>", "<bos>",   "<eos>",    "<pad>", "<unk>"};
constexpr size_t kLongestMark = 40;

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

const jinja::Value* field_of(const Conversation& conversation, size_t message, const char* name) {
    return conversation.messages.list()->items[message].dict()->find_name(name);
}

void add_words(const jinja::Value& value, std::vector<std::string>& words) {
    if (const jinja::Text* text = value.text()) words.push_back(text->str());
    if (const jinja::List* list = value.list())
        for (const jinja::Value& part : list->items)
            if (part.dict() != nullptr)
                if (const jinja::Value* text = part.dict()->find_name("text")) add_words(*text, words);
}

std::vector<std::string> words_of_message(const Conversation& conversation, size_t message) {
    std::vector<std::string> words;
    if (const jinja::Value* content = field_of(conversation, message, "content")) add_words(*content, words);
    return words;
}

Conversation first_messages(const Conversation& conversation, size_t n) {
    const auto& items = conversation.messages.list()->items;
    Conversation part;
    part.messages = jinja::Value::list({items.begin(), items.begin() + static_cast<std::ptrdiff_t>(n)});
    part.tools = conversation.tools;
    return part;
}

// "<|" and lower-case letters, digits, "_" and "|>".
std::vector<std::string> barred_marks(std::string_view text) {
    std::vector<std::string> marks;
    for (size_t begin = text.find("<|"); begin != std::string_view::npos; begin = text.find("<|", begin + 2)) {
        const size_t end = text.find("|>", begin + 2);
        if (end == std::string_view::npos || end - begin > kLongestMark) continue;
        const std::string_view name = text.substr(begin + 2, end - begin - 2);
        const bool plain = std::ranges::all_of(
            name, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
        if (plain && !name.empty()) marks.emplace_back(text.substr(begin, end + 2 - begin));
    }
    return marks;
}

}  // namespace

std::vector<std::string> words_of(const Record& record) {
    if (record.chat.empty()) return {record.prompt, record.input, record.answer};
    std::vector<std::string> words;
    for (size_t i = 0; i < record.chat.n_messages(); ++i)
        for (std::string& text : words_of_message(record.chat, i)) words.push_back(std::move(text));
    return words;
}

std::optional<std::string> empty_answer(const Record& record) {
    if (record.chat.empty())
        return is_blank(record.answer) ? std::optional<std::string>("the answer is empty") : std::nullopt;
    for (const size_t turn : record.chat.loss_turns) {
        const auto words = words_of_message(record.chat, turn);
        const bool calls = field_of(record.chat, turn, "tool_calls") != nullptr;
        if (!calls && std::ranges::all_of(words, [](const std::string& text) { return is_blank(text); }))
            return fmt::format("message {}, of the assistant, is empty", turn + 1);
    }
    return std::nullopt;
}

std::optional<std::string> wrong_turn(const Conversation& conversation) {
    std::string before;
    for (size_t i = 0; i < conversation.n_messages(); ++i) {
        const std::string role = role_of(conversation, i);
        const bool system = role == "system" || role == "developer";
        if (system && i > 0) return fmt::format("message {} is of {}, which can only be the first", i + 1, role);
        if (system) continue;
        if (role == before && (role == "user" || role == "assistant"))
            return fmt::format("message {} is of {}, and so is the one before", i + 1, role);
        if (before.empty() && role != "user")
            return fmt::format("message {} is of {}, expected user to begin", i + 1, shown(role));
        before = role;
    }
    if (before != "assistant") return "the last message is of " + shown(before) + ", no answer follows";
    return std::nullopt;
}

std::vector<std::string> unknown_specials(const std::string& text, const Tokenizer& tokenizer) {
    std::vector<std::string> found;
    std::vector<std::string> marks = barred_marks(text);
    for (const char* mark : kMarks)
        if (text.find(mark) != std::string::npos) marks.emplace_back(mark);
    for (const std::string& mark : marks)
        if (!tokenizer.id_of(mark) && std::ranges::find(found, mark) == found.end()) found.push_back(mark);
    return found;
}

std::vector<std::string> specials_in(const std::string& words, const Tokenizer& tokenizer) {
    std::vector<std::string> found;
    if (words.find_first_of("<[") == std::string::npos)
        return found;  // quick, and so is every special token of a Llama
    for (const int32_t id : tokenizer.encode(words, {.add_special = false}))
        if (tokenizer.is_special(id) && std::ranges::find(found, tokenizer.token_of(id)) == found.end())
            found.push_back(tokenizer.token_of(id));
    return found;
}

std::optional<std::string> prompt_mismatch(const Conversation& conversation, const ChatTemplate& chat) try {
    if (conversation.loss_turns.empty()) return std::nullopt;
    const size_t turn = conversation.loss_turns.back();
    const std::string prompt = chat.render(first_messages(conversation, turn), true).text;
    const std::string text = chat.render(first_messages(conversation, turn + 1), false).text;
    if (text.starts_with(prompt)) return std::nullopt;
    const auto at = static_cast<size_t>(std::ranges::mismatch(prompt, text).in1 - prompt.begin());
    return fmt::format("a generation is asked with '{}' where the text that is trained on has '{}'",
                       shown(std::string_view(prompt).substr(at), 40), shown(std::string_view(text).substr(at), 40));
} catch (const Error&) {
    return std::nullopt;  // of a part of a conversation, which nobody asked for
}

std::optional<std::string> double_end(const Sample& sample, const Tokenizer& tokenizer) {
    for (size_t i = 1; i < sample.ids.size(); ++i) {
        const int32_t id = sample.ids[i];
        if (id == sample.ids[i - 1] && sample.has_loss[i] != 0 && tokenizer.is_special(id))
            return fmt::format("'{}' stands twice at the end of an answer", shown(tokenizer.token_of(id)));
    }
    return std::nullopt;
}

}  // namespace ggq
