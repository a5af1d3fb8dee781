#include "models/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ggq {

namespace {

constexpr int64_t kExact = int64_t{1} << 24;  // integers up to here are floats, and more tokens no model has

float finite_inverse(double temperature) {
    return static_cast<float>(std::min(1 / temperature, double{std::numeric_limits<float>::max()}));
}

}  // namespace

sampling::Settings settings_of(const SamplerOptions& options, int64_t vocabulary) {
    sampling::Settings s;
    if (options.temperature > 0) s.inverse_temperature = finite_inverse(options.temperature);
    s.top_k = static_cast<float>(std::min(options.top_k, kExact));
    s.top_p = static_cast<float>(options.top_p);
    if (options.min_p > 0) s.farthest = static_cast<float>(-std::log(options.min_p));
    s.repeat = static_cast<float>(options.repeat_penalty);
    s.presence = static_cast<float>(options.presence_penalty);
    s.frequency = static_cast<float>(options.frequency_penalty);
    s.vocabulary = static_cast<float>(std::min(vocabulary, kExact));
    return s;
}

}  // namespace ggq
