// A conversation as a record of training data has it, before a template makes a text of it.
//
//   {"messages": [{"role", "content", ...}, ...], "tools": [...]}         Hugging Face, OpenAI; a key beside those
//   stays
//   {"conversations": [{"from": "human" | "gpt" | ..., "value"}, ...]}    ShareGPT; "system" and "tools" beside it
//   {"prompt": [messages], "completion": [messages]}                      loss on the completion's answers
//
// Whose turn it is says `role`; a ShareGPT `from` becomes one. A message may say for itself whether it carries loss:
// "weight" (0 or 1, as OpenAI has it) or "train" (true or false). Only answers, messages of role assistant, ever do.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/jinja/value.h"

namespace ggq {

struct Conversation {
    jinja::Value messages;           // a list of dicts
    jinja::Value tools;              // a list, or none
    std::vector<size_t> loss_turns;  // which messages carry loss, in order

    bool empty() const { return messages.list() == nullptr; }
    size_t n_messages() const { return empty() ? 0 : messages.list()->items.size(); }
};

// True if the record has one of the three forms.
bool is_conversation(const nlohmann::ordered_json& record);

// Throws Error for what is none: a message without role or content, a role that is not known.
Conversation read_conversation(const nlohmann::ordered_json& record);

// What a person says, alone or after a system message; the answer, if there is one, carries loss.
Conversation single_turn(const std::string& system, const std::string& user, const std::string* answer = nullptr);

// With one more message at its end.
Conversation with_message(const Conversation& conversation, const std::string& role, const std::string& content);

std::string role_of(const Conversation& conversation, size_t message);

}  // namespace ggq
