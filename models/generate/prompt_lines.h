// Prompts of a file: JSON lines, each an object with a text under "prompt", or a conversation under "messages" (with
// "tools", if there are) that a chat template makes a prompt of. "lora" says which of several adapters answer, [{"id":
// 0, "scale": 1}], as llama.cpp's server has it: those that are not named do not. Other keys are not looked at.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/text/conversation.h"

namespace ggq {

struct PromptLine {
    std::string place;  // "prompts.jsonl: line 3", for messages
    std::string text;
    Conversation chat = {};                              // instead of the text, where there is one
    std::optional<std::map<int64_t, double>> lora = {};  // scales, by the number of the adapter from 0
};

// Empty lines are passed over. Throws Error naming the line for whatever is not such an object, and for a file without
// any.
std::vector<PromptLine> read_prompt_lines(const std::filesystem::path& path);

// The answer to one: {"text", "prompt_tokens", "new_tokens", "stop_reason"} without the end of the line.
struct AnswerLine {
    std::string text;
    int64_t prompt_tokens = 0, new_tokens = 0;
    std::string stop_reason;  // stop_token, stop_text, length, context, or interrupted
};
std::string to_json_line(const AnswerLine& answer);

}  // namespace ggq
