#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

using nlohmann::json;

constexpr struct {
    const char* name;
    RopeKind kind;
} kKinds[] = {{"default", RopeKind::plain},
              {"linear", RopeKind::linear},
              {"llama3", RopeKind::llama3},
              {"yarn", RopeKind::yarn},
              {"dynamic", RopeKind::dynamic}};

RopeKind rope_kind(const JsonFields& rope) {
    const std::string kind = rope.text_or("rope_type", rope.text_or("type", "default"));
    for (const auto& row : kKinds)
        if (kind == row.name) return row.kind;
    fail("{}: the RoPE kind '{}' is not known; known are default, linear, llama3, yarn, dynamic", rope.where(),
         shown(kind));
}

void read_llama3(const JsonFields& scaling, RopeConfig& rope) {
    rope.low_freq_factor = scaling.positive("low_freq_factor");
    rope.high_freq_factor = scaling.positive("high_freq_factor");
    rope.original_max_position_embeddings = scaling.count("original_max_position_embeddings");
    require(rope.low_freq_factor < rope.high_freq_factor, "{}: low_freq_factor {} must be below high_freq_factor {}",
            scaling.where(), rope.low_freq_factor, rope.high_freq_factor);
}

double yarn_scale(double factor, double weight) { return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1; }

// attention_factor is given, or follows from the factor, weighted by mscale over mscale_all_dim where both are there.
void read_yarn(const JsonFields& scaling, int64_t max_positions, RopeConfig& rope) {
    rope.original_max_position_embeddings = scaling.count_or("original_max_position_embeddings", max_positions);
    rope.beta_fast = scaling.positive_or("beta_fast", rope.beta_fast);
    rope.beta_slow = scaling.positive_or("beta_slow", rope.beta_slow);
    rope.truncate = scaling.flag_or("truncate", true);
    require(rope.beta_fast > rope.beta_slow, "{}: beta_fast {} must be above beta_slow {}", scaling.where(),
            rope.beta_fast, rope.beta_slow);
    require(rope.theta > 1, "{}: rope_theta must be above 1 for yarn, got {}", scaling.where(), rope.theta);
    const bool weighted = scaling.find("mscale") && scaling.find("mscale_all_dim");
    const double of_factor = weighted ? yarn_scale(rope.factor, scaling.positive("mscale")) /
                                            yarn_scale(rope.factor, scaling.positive("mscale_all_dim"))
                                      : yarn_scale(rope.factor, 1);
    rope.attention_factor = scaling.positive_or("attention_factor", of_factor);
}

// transformers 4 has rope_theta beside rope_scaling, transformers 5 has both in rope_parameters. Where a file has both,
// both take rope_scaling, and leave rope_parameters, its theta too; one that is empty counts as none.
const char* rope_section(const JsonFields& fields) {
    for (const char* section : {"rope_scaling", "rope_parameters"})
        if (const json* found = fields.find(section); found && !says_nothing(*found)) return section;
    return nullptr;
}

RopeConfig read_section(const JsonFields& fields, const char* section, int64_t max_positions) {
    RopeConfig rope;
    rope.theta = fields.positive_or("rope_theta", rope.theta);
    if (!section) return rope;
    const JsonFields scaling(*fields.find(section), fields.where() + ", " + section);
    for (const auto& [key, value] : fields.find(section)->items())
        require(!value.is_object(), "{}: '{}' has a form of its own for some layers; only one for all is supported",
                scaling.where(), shown(key));
    rope.theta = scaling.positive_or("rope_theta", rope.theta);
    require(scaling.positive_or("partial_rotary_factor", 1) == 1,
            "{}: partial_rotary_factor other than 1 is not supported", scaling.where());
    rope.kind = rope_kind(scaling);
    if (rope.kind != RopeKind::plain) rope.factor = scaling.positive("factor");
    if (rope.kind == RopeKind::llama3) read_llama3(scaling, rope);
    if (rope.kind == RopeKind::yarn) read_yarn(scaling, max_positions, rope);
    return rope;
}

// One step of the llama3 rule, in float32 as transformers: long wavelengths are slowed down by the factor, short ones
// stay, those between are blended.
float llama3_frequency(float frequency, const RopeConfig& rope) {
    const auto factor = static_cast<float>(rope.factor);
    const auto low = static_cast<float>(rope.low_freq_factor);
    const auto high = static_cast<float>(rope.high_freq_factor);
    const auto context = static_cast<float>(rope.original_max_position_embeddings);
    const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
    if (wavelength > context / low) return frequency / factor;
    if (wavelength < context / high) return frequency;
    const float smooth = (context / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
}

// Where a rotation of so many turns within the original context lies among the pairs, as a real number.
double yarn_pair(double n_turns, const LlamaConfig& config) {
    const auto context = static_cast<double>(config.rope.original_max_position_embeddings);
    return static_cast<double>(config.head_dim) * std::log(context / (n_turns * 2 * std::numbers::pi)) /
           (2 * std::log(config.rope.theta));
}

// Between which pairs yarn blends: those before keep their frequency, those behind are slowed down by the factor.
struct Ramp {
    float first, last;
};

Ramp yarn_ramp(const LlamaConfig& config) {
    double first = yarn_pair(config.rope.beta_fast, config), last = yarn_pair(config.rope.beta_slow, config);
    if (config.rope.truncate) {
        first = std::floor(first);
        last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, static_cast<double>(config.head_dim - 1));
    if (first == last) last += 0.001;
    return {static_cast<float>(first), static_cast<float>(last)};
}

float yarn_frequency(float inverse, int64_t pair, const Ramp& ramp, const RopeConfig& rope) {
    const float slow = 1 / (static_cast<float>(rope.factor) * inverse);
    const float share = std::clamp((static_cast<float>(pair) - ramp.first) / (ramp.last - ramp.first), 0.0f, 1.0f);
    const float kept = 1 - share;
    return slow * (1 - kept) + 1 / inverse * kept;
}

}  // namespace

RopeConfig read_rope(const JsonFields& fields, int64_t max_positions, std::vector<std::string>& warnings) {
    const char* section = rope_section(fields);
    const RopeConfig rope = read_section(fields, section, max_positions);
    const json* other = fields.find("rope_parameters");
    const bool both = section && std::string_view(section) == "rope_scaling" && other && !says_nothing(*other);
    if (both)
        warnings.push_back(fields.where() +
                           ": has rope_scaling and rope_parameters; rope_scaling counts, as in transformers");
    return rope;
}

json rope_json(const RopeConfig& rope) {
    if (rope.kind == RopeKind::plain) return nullptr;
    const auto* row = std::ranges::find(kKinds, rope.kind, [](const auto& r) { return r.kind; });
    json text = {{"rope_type", row->name}, {"factor", rope.factor}};
    if (rope.kind == RopeKind::llama3) {
        text["low_freq_factor"] = rope.low_freq_factor;
        text["high_freq_factor"] = rope.high_freq_factor;
        text["original_max_position_embeddings"] = rope.original_max_position_embeddings;
    }
    if (rope.kind == RopeKind::yarn) {
        text["original_max_position_embeddings"] = rope.original_max_position_embeddings;
        text["beta_fast"] = rope.beta_fast;
        text["beta_slow"] = rope.beta_slow;
        text["attention_factor"] = rope.attention_factor;
        text["truncate"] = rope.truncate;
    }
    return text;
}

std::vector<float> rope_frequencies(const LlamaConfig& config) {
    std::vector<float> frequencies;
    const auto theta = static_cast<float>(config.rope.theta);
    const bool is_yarn = config.rope.kind == RopeKind::yarn;
    const Ramp ramp = is_yarn ? yarn_ramp(config) : Ramp{0, 1};
    for (int64_t i = 0; i < config.head_dim / 2; ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
        const auto inverse = static_cast<float>(std::pow(double{theta}, double{exponent}));
        float frequency = 1 / inverse;
        if (config.rope.kind == RopeKind::linear) frequency /= static_cast<float>(config.rope.factor);
        if (config.rope.kind == RopeKind::llama3) frequency = llama3_frequency(frequency, config.rope);
        if (is_yarn) frequency = yarn_frequency(inverse, i, ramp, config.rope);
        frequencies.push_back(frequency);
    }
    return frequencies;
}

}  // namespace ggq
