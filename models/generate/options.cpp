#include "models/generate/options.h"

#include <algorithm>
#include <cmath>

#include "ggq/error.h"

namespace ggq {

void validate(const GenerateOptions& options) {
    validate(options.base);
    require(options.adapters.size() <= 1, "--adapter: expected one adapter, got {}", options.adapters.size());
    for (const AdapterChoice& adapter : options.adapters)
        require(std::isfinite(adapter.scale), "--adapter {}: expected a finite scale, got {}", adapter.path,
                adapter.scale);
    require_positive("--max-new-tokens", options.max_new_tokens);
    if (options.max_length) require_positive("--max-length", *options.max_length);
    const SamplerOptions& s = options.sampler;
    require_not_negative("--temp", s.temperature);
    require_not_negative("--top-k", s.top_k);
    require(s.top_p > 0 && s.top_p <= 1, "--top-p: expected a number above 0 and at most 1, got {}", s.top_p);
    require_fraction("--min-p", s.min_p);
    require_positive("--repeat-penalty", s.repeat_penalty);
    require(std::none_of(options.stop.begin(), options.stop.end(), [](const auto& text) { return text.empty(); }),
            "--stop: expected a text, got an empty one");
}

}  // namespace ggq
