// How questions are put to a model: as a text that it goes on with, or as a conversation.
#pragma once

#include <span>
#include <string>

#include "models/evaluate/questions.h"
#include "models/generate/prompt.h"

namespace ggq {

// What stands before the answer; `shots` are other questions, answered.
std::string choice_text(const std::string& subject, std::span<const ChoiceQuestion> shots, const ChoiceQuestion& asked);
std::string sum_text(std::span<const SumQuestion> shots, const SumQuestion& asked);

Conversation choice_conversation(const std::string& system, const std::string& subject,
                                 std::span<const ChoiceQuestion> shots, const ChoiceQuestion& asked);
Conversation sum_conversation(const std::string& system, std::span<const SumQuestion> shots, const SumQuestion& asked);

}  // namespace ggq
