#include "models/generate/options.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ggq/error.h"
#include "models/option_checks.h"
#include "models/text/chat_template.h"

namespace ggq {

bool is_chat(const GenerateOptions& options) {
    return options.chat || !options.chat_template.empty() || options.template_name == "chat" ||
           ChatTemplate::is_name(options.template_name);
}

void validate(const GenerateOptions& options) {
    validate(options.base);
    validate(options.adapters);
    require_positive("max_new_tokens", options.max_new_tokens);
    if (options.max_length) require_positive("max_length", *options.max_length);
    require(options.chat_template.empty() || options.template_name.empty() || options.template_name == "chat",
            "`chat_template` names a file, and `template` is {}; give one of the two", options.template_name);
    require(options.system.empty() || is_chat(options),
            "`system` is part of a chat template: it needs `template` chat or `chat_template`");
    const bool other = !options.template_name.empty() && options.template_name != "chat";
    require(!options.chat || !other || ChatTemplate::is_name(options.template_name),
            "`chat` goes through a chat template, and `template` {} is none", options.template_name);
    require(!options.chat || options.batch.empty(), "`chat` and `batch` exclude each other: give one of them");
    for (const LogitBias& b : options.logit_bias)
        require(b.token >= 0 && !std::isnan(b.bias),
                "`logit_bias`: expected a token's number and a bias, got {} and {}", b.token, b.bias);
    require(options.batch.empty() || options.prompt.empty(), "`batch`: expected a file or a `prompt`, got both");
    require_positive("batch_size", options.batch_size);
    const SamplerOptions& s = options.sampler;
    require_not_negative("temp", s.temperature);
    require_not_negative("top_k", s.top_k);
    require(s.top_p > 0 && s.top_p <= 1, "`top_p`: expected a number above 0 and at most 1, got {}", s.top_p);
    require_fraction("min_p", s.min_p);
    require_positive("repeat_penalty", s.repeat_penalty);
    for (const auto& [name, penalty] :
         {std::pair{"presence_penalty", s.presence_penalty}, std::pair{"frequency_penalty", s.frequency_penalty}})
        require(std::isfinite(penalty), "`{}`: expected a number, got {}", name, penalty);
    require(std::none_of(options.stop.begin(), options.stop.end(), [](const auto& text) { return text.empty(); }),
            "`stop`: expected a text, got an empty one");
}

}  // namespace ggq
