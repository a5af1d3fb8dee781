#include "models/text/template.h"

#include <fmt/format.h>

namespace ggq {

std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
    if (input.empty()) {
        return fmt::format(
            "Below is an instruction that describes a task. Write a response that appropriately completes the "
            "request.\n\n### Instruction:\n{}\n\n### Response:\n",
            instruction);
    }
    return fmt::format(
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n### "
        "Response:\n",
        instruction, input);
}

RenderedText render(const Record& record, Form form) {
    const std::string prompt = form == Form::alpaca ? alpaca_prompt(record.prompt, record.input) : record.prompt;
    return {prompt + record.answer, {prompt.size(), prompt.size() + record.answer.size()}};
}

}  // namespace ggq
