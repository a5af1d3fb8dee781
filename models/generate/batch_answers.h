// The prompts of a file answered: a line of JSON for each, in their order, each written as soon as it and all before
// it have ended.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/generate/generator.h"
#include "models/generate/prompt_lines.h"
#include "models/text/tokenizer.h"

namespace ggq {

struct BatchCounts {
    int64_t prompt_tokens = 0, new_tokens = 0;
    int64_t n_empty = 0;  // answers without a token

    BatchCounts& operator+=(const BatchCounts& other) {
        prompt_tokens += other.prompt_tokens;
        new_tokens += other.new_tokens;
        n_empty += other.n_empty;
        return *this;
    }
};

struct BatchJob {
    const Tokenizer& tokenizer;
    const std::vector<std::vector<int32_t>>& prompts;
    const GenerationOptions& options;      // of each
    const std::vector<std::string>& stop;  // texts that end an answer
    std::function<bool()> asked_to_stop;   // then answers end where they are, and no prompt is begun any more
    std::function<void(const AnswerLine&)> write;
};

// Throws Error as generate_batch().
BatchCounts answer_batch(Generator& generator, const BatchJob& job);

}  // namespace ggq
