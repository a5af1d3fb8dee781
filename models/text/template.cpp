#include "models/text/template.h"

#include <fmt/format.h>

#include <string_view>

namespace ggq {

namespace {

constexpr std::string_view kPreamble =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n";
constexpr std::string_view kPreambleOfInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n";

}  // namespace

std::string alpaca_prompt(const std::string& instruction, const std::string& input, Form form) {
    const std::string_view preamble = form == Form::alpaca_short ? "" : input.empty() ? kPreamble : kPreambleOfInput;
    const std::string of_input = input.empty() ? "" : fmt::format("### Input:\n{}\n\n", input);
    return fmt::format("{}### Instruction:\n{}\n\n{}### Response:\n", preamble, instruction, of_input);
}

RenderedText render(const Record& record) {
    const std::string prompt =
        is_alpaca(record.form) ? alpaca_prompt(record.prompt, record.input, record.form) : record.prompt;
    return {prompt + record.answer, {prompt.size(), prompt.size() + record.answer.size()}};
}

}  // namespace ggq
