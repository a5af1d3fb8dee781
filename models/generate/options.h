// Everything that a generation can be told, as plain data with its defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/adapted_model.h"
#include "models/base_options.h"
#include "models/generate/sampler.h"
#include "models/option_names.h"

namespace ggq {

struct GenerateOptions {
    BaseOptions base;
    std::vector<AdapterChoice> adapters;  // what they add adds up

    std::string prompt;
    bool chat = false;       // a conversation: GenerateEvents::ask says what follows (generate/chat.h)
    std::string batch;       // a file of prompts instead of one (generate/prompt_lines.h)
    int64_t batch_size = 8;  // of them that are answered at a time
    std::string
        template_name;  // empty: the prompt as it is; "alpaca": as an instruction; "chat": as what a person says
    std::string chat_template;  // a file of Jinja to take for the latter
    std::string system;         // in a chat template, what stands before what the person says
    int64_t max_new_tokens = 256;
    std::optional<int64_t> max_length;  // of the context; nothing: what the prompt and max_new_tokens need

    SamplerOptions sampler;
    std::vector<std::string> stop;  // texts that end the answer
    std::vector<LogitBias> logit_bias;
    std::optional<DType> kv_dtype;  // nothing: the computing type

    bool plan = false;  // print the memory plan and end; a prompt is not needed then
    bool quiet = false;
    bool profile = false;
};

// Whether prompts go through a chat template.
bool is_chat(const GenerateOptions& options);

// Refuses numbers out of their range, by flag.
void validate(const GenerateOptions& options);

}  // namespace ggq
