// Questions of tests: with choices, as MMLU has them, and sums that are worked out in words, as GSM8K has them.
//
//   choices   CSV: question, choices, answer, in columns that a header names (question, choice0 ... or A ..., answer)
//             or in that order without one; or JSON: {"question", "choices": [texts], "answer"}. The answer is a
//             choice's number from 0 or its letter.
//   sums      {"question", "answer"} in any form of data; the answer ends with "#### NUMBER", or has a number at its
//   end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ggq {

struct ChoiceQuestion {
    std::string question;
    std::vector<std::string> choices;  // 2 to 26
    size_t answer = 0;
};

struct SumQuestion {
    std::string question;
    std::string answer;  // in words
    std::string number;  // as normal_number() has it
};

// At most `limit` of them, -1: all. Throws Error, by file and line, for what is no such question.
std::vector<ChoiceQuestion> read_choice_questions(const std::filesystem::path& file, int64_t limit);
std::vector<SumQuestion> read_sum_questions(const std::filesystem::path& file, int64_t limit);

// "A" for the first.
std::string letter(size_t choice);

// The number that a text comes to: behind its last "####", else its last one; without "$", "," and zeros that say
// nothing, so that equal ones are equal texts. Nothing where there is none.
std::optional<std::string> final_number(const std::string& text);

// What a file's questions are about, by its name: "abstract_algebra_test.csv" is "abstract algebra".
std::string subject_of(const std::filesystem::path& file);

}  // namespace ggq
