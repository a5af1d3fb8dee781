#include "models/evaluate/task_prompts.h"

#include <fmt/format.h>

#include <utility>

namespace ggq {

namespace {

std::string choice_lines(const ChoiceQuestion& q) {
    std::string text = q.question;
    for (size_t i = 0; i < q.choices.size(); ++i) text += fmt::format("\n{}. {}", letter(i), q.choices[i]);
    return text;
}

std::string introduction(const std::string& subject) {
    return fmt::format("The following are multiple choice questions (with answers) about {}.\n\n", subject);
}

Conversation beginning(const std::string& system) {
    return system.empty() ? Conversation{} : with_message({}, "system", system);
}

}  // namespace

std::string choice_text(const std::string& subject, std::span<const ChoiceQuestion> shots,
                        const ChoiceQuestion& asked) {
    std::string text = introduction(subject);
    for (const ChoiceQuestion& q : shots) text += fmt::format("{}\nAnswer: {}\n\n", choice_lines(q), letter(q.answer));
    return text + choice_lines(asked) + "\nAnswer:";
}

std::string sum_text(std::span<const SumQuestion> shots, const SumQuestion& asked) {
    std::string text;
    for (const SumQuestion& q : shots) text += fmt::format("Question: {}\nAnswer: {}\n\n", q.question, q.answer);
    return text + fmt::format("Question: {}\nAnswer:", asked.question);
}

Conversation choice_conversation(const std::string& system, const std::string& subject,
                                 std::span<const ChoiceQuestion> shots, const ChoiceQuestion& asked) {
    constexpr const char* kWish = "\n\nAnswer with the letter alone.";
    Conversation all = beginning(system);
    std::string before = introduction(subject);
    for (const ChoiceQuestion& q : shots) {
        all = with_message(all, "user", std::exchange(before, "") + choice_lines(q) + kWish);
        all = with_message(all, "assistant", letter(q.answer));
    }
    return with_message(all, "user", before + choice_lines(asked) + kWish);
}

Conversation sum_conversation(const std::string& system, std::span<const SumQuestion> shots, const SumQuestion& asked) {
    Conversation all = beginning(system);
    for (const SumQuestion& q : shots) {
        all = with_message(all, "user", q.question);
        all = with_message(all, "assistant", q.answer);
    }
    return with_message(all, "user", asked.question);
}

}  // namespace ggq
