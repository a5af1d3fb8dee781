// A whole generation: options in, text out as it comes, or of a file of prompts a line of JSON for each. The library
// prints nothing; text, notes and warnings come through GenerateEvents.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "ggq/program.h"
#include "models/events.h"
#include "models/generate/answer_text.h"
#include "models/generate/generator.h"
#include "models/generate/options.h"

namespace ggq {

struct GenerateEvents : Events {
    // Of a conversation: the next line that a person enters, nothing where it ends; and whether an answer is to end
    // that is under way, which the conversation survives.
    std::function<std::optional<std::string>()> ask;
    std::function<bool()> stop_answer;
    std::function<void(const std::string&)> text;   // the next piece of the answer, whole characters
    std::function<void(const std::string&)> line;   // of a batch: the next answer (generate/prompt_lines.h)
    std::function<void(const std::string&)> print;  // a line of the plan that was asked for
};

struct GenerateResult {
    int64_t n_prompts = 1;
    int64_t prompt_tokens = 0, new_tokens = 0;
    int64_t context = 0, positions = 0;             // tokens that the cache holds, and that the model can have at most
    double prompt_seconds = 0, answer_seconds = 0;  // of a batch both together in the latter
    StopReason reason = StopReason::length;
};

// Throws Error for whatever the options, the files or the machine make impossible. With options.plan it ends after
// printing the plan, which reads no weights of the base; it throws as well then if that does not fit.
GenerateResult run_generation(GenerateOptions options, const GenerateEvents& events, Profile* profile = nullptr);

}  // namespace ggq
