#include "models/text/conversation.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

using nlohmann::ordered_json;

constexpr std::pair<const char*, const char*> kShareGptRoles[] = {
    {"human", "user"},        {"user", "user"},      {"gpt", "assistant"},           {"assistant", "assistant"},
    {"chatgpt", "assistant"}, {"bing", "assistant"}, {"bard", "assistant"},          {"system", "system"},
    {"observation", "tool"},  {"tool", "tool"},      {"function_call", "assistant"}, {"function_response", "tool"},
};

bool is_messages(const ordered_json& record, const char* key) { return record.contains(key) && record[key].is_array(); }

std::string text_of(const ordered_json& message, const char* key, size_t n) {
    require(message.contains(key) && message[key].is_string(), "message {}: expected a text under '{}', got {}", n + 1,
            key, message.contains(key) ? shown_json(nlohmann::json(message[key])) : "nothing");
    return message[key];
}

// One text, a list of parts (each with a type), or nothing where tools are called.
void check_content(const ordered_json& message, size_t n) {
    const bool calls = message.contains("tool_calls") && message["tool_calls"].is_array();
    const ordered_json content = message.value("content", ordered_json());
    if (content.is_string() || (content.is_null() && calls)) return;
    require(content.is_array(), "message {}: expected content, a text or a list of parts, got {}", n + 1,
            message.contains("content") ? shown_json(nlohmann::json(content)) : "nothing");
    for (const ordered_json& part : content)
        require(
            part.is_object() && part.value("type", "") == "text" && part.contains("text") && part["text"].is_string(),
            "message {}: only parts of type text are read, got {}", n + 1, shown_json(nlohmann::json(part)));
}

// Whether an answer carries loss, by what it says itself.
bool carries_loss(const ordered_json& message, size_t n) {
    for (const char* key : {"weight", "train"}) {
        if (!message.contains(key) || message[key].is_null()) continue;
        const ordered_json& value = message[key];
        if (value.is_boolean()) return value.get<bool>();
        require(value.is_number() && (value == 0 || value == 1), "message {}: {} is 0 or 1, got {}", n + 1, key,
                shown_json(nlohmann::json(value)));
        return value == 1;
    }
    return true;
}

class Builder {
public:
    // A message of Hugging Face's form.
    void add(const ordered_json& message, bool may_carry_loss = true) {
        const size_t n = items_.size();
        require(message.is_object(), "message {}: expected an object with role and content, got {}", n + 1,
                shown_json(nlohmann::json(message)));
        const std::string role = text_of(message, "role", n);
        require(!role.empty(), "message {}: its role is empty", n + 1);
        check_content(message, n);
        if (role == "assistant" && may_carry_loss && carries_loss(message, n)) conversation_.loss_turns.push_back(n);
        items_.push_back(jinja::from_json(without_marks(message)));
    }

    void add_share_gpt(const ordered_json& turn) {
        const size_t n = items_.size();
        require(turn.is_object(), "message {}: expected an object with from and value", n + 1);
        const std::string from = text_of(turn, "from", n);
        const char* role = nullptr;
        for (const auto& [name, known] : kShareGptRoles)
            if (from == name) role = known;
        require(role != nullptr,
                "message {}: from '{}' is not known; known are human, gpt, system, observation, "
                "function_call and tool",
                n + 1, shown(from));
        ordered_json message = {{"role", role}, {"content", text_of(turn, "value", n)}};
        for (const char* key : {"weight", "train"})
            if (turn.contains(key)) message[key] = turn[key];
        add(message);
    }

    void set_tools(const ordered_json& record) {
        if (!record.contains("tools") || record["tools"].is_null()) return;
        ordered_json tools = record["tools"];
        if (tools.is_string()) {  // as a text of JSON
            if (tools.get<std::string>().empty()) return;
            tools = parse_ordered_json(tools.get<std::string>(), "tools");
        }
        require(tools.is_array(), "expected a list under 'tools', got {}", shown_json(nlohmann::json(tools)));
        if (!tools.empty()) conversation_.tools = jinja::from_json(tools);
    }

    Conversation take() {
        require(!items_.empty(), "the conversation has no message");
        conversation_.messages = jinja::Value::list(std::move(items_));
        return std::move(conversation_);
    }

private:
    // What only training reads, no template.
    static ordered_json without_marks(ordered_json message) {
        message.erase("weight");
        message.erase("train");
        return message;
    }

    Conversation conversation_;
    std::vector<jinja::Value> items_;
};

}  // namespace

bool is_conversation(const ordered_json& record) {
    if (is_messages(record, "messages") || is_messages(record, "conversations")) return true;
    return is_messages(record, "prompt") && is_messages(record, "completion");
}

Conversation read_conversation(const ordered_json& record) {
    Builder builder;
    if (is_messages(record, "messages")) {
        for (const ordered_json& message : record["messages"]) builder.add(message);
    } else if (is_messages(record, "conversations")) {
        const ordered_json system = record.value("system", ordered_json());
        if (system.is_string() && !system.get<std::string>().empty())
            builder.add({{"role", "system"}, {"content", system}});
        // Some data sets have Hugging Face's messages under ShareGPT's key.
        for (const ordered_json& turn : record["conversations"])
            turn.is_object() && turn.contains("role") ? builder.add(turn) : builder.add_share_gpt(turn);
    } else {
        require(is_messages(record, "prompt") && is_messages(record, "completion"),
                "expected lists of messages under messages, conversations, or prompt and completion");
        for (const ordered_json& message : record["prompt"]) builder.add(message, false);
        for (const ordered_json& message : record["completion"]) builder.add(message);
    }
    builder.set_tools(record);
    return builder.take();
}

Conversation single_turn(const std::string& system, const std::string& user, const std::string* answer) {
    Builder builder;
    if (!system.empty()) builder.add({{"role", "system"}, {"content", system}});
    builder.add({{"role", "user"}, {"content", user}});
    if (answer != nullptr) builder.add({{"role", "assistant"}, {"content", *answer}});
    return builder.take();
}

Conversation with_message(const Conversation& conversation, const std::string& role, const std::string& content) {
    Conversation longer = conversation;
    std::vector<jinja::Value> items =
        conversation.empty() ? std::vector<jinja::Value>{} : conversation.messages.list()->items;
    items.push_back(jinja::from_json({{"role", role}, {"content", content}}));
    longer.messages = jinja::Value::list(std::move(items));
    return longer;
}

std::string role_of(const Conversation& conversation, size_t message) {
    const jinja::Value* role = conversation.messages.list()->items[message].dict()->find_name("role");
    return role == nullptr ? "" : role->to_text().str();
}

}  // namespace ggq
