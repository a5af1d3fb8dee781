// Generator: prompt in, tokens out, over a KV cache whose size is planned with the rest.
//
// A prompt goes in by chunks of kPrefill tokens, on a card with room a long one by chunks of kLongPrefill (the last one
// filled up with tokens that nobody sees), then one token at a time. That last program also finds the likeliest token
// and makes it the next to be read, on the device: greedy generation starts a token before the one in front has come to
// the host.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ggq/program_set.h"
#include "models/generate/sampler.h"
#include "models/llama.h"

namespace ggq {

struct GeneratorOptions {
    int64_t context = 512;  // tokens that the cache holds: prompt and answer
    DType kv_dtype = DType::f32;
    int64_t vocabulary = 0;  // tokens that greedy generation chooses of; 0: all that have a logit
};

enum class StopReason : uint8_t { stop_token, length, context, stopped };

struct GenerationOptions {
    SamplerOptions sampler;
    int64_t max_new_tokens = 256;
    std::vector<int32_t> stop_tokens;
    int64_t vocabulary = 0;  // tokens that can be chosen: those that the tokenizer knows; 0: all that have a logit. On
                             // the device greedy generation takes place where the generator has been told the same
};

struct Generation {
    std::vector<int32_t> tokens;  // the new ones, without the stop token
    StopReason reason = StopReason::length;
};

class Generator {
public:
    // Declares the cache and plans; `set` and `llama` must outlive it.
    Generator(ProgramSet& set, const Llama& llama, const GeneratorOptions& options);
    Generator(const Generator&) = delete;
    Generator& operator=(const Generator&) = delete;

    int64_t context() const { return options_.context; }
    int64_t cache_bytes() const;

    // `on_token` sees each new token as it comes and returns false to end the generation. Throws Error when the prompt
    // is empty or leaves no room in the context.
    Generation generate(std::span<const int32_t> prompt, const GenerationOptions& options,
                        const std::function<bool(int32_t)>& on_token = {});

    // Logits [V] after `tokens`, which follow those fed since reset().
    const std::vector<float>& feed(std::span<const int32_t> tokens);
    void reset() { n_fed_ = 0; }
    void set_profile(Profile* profile) { profile_ = profile; }

private:
    struct Pass {
        int64_t length = 0;
        Buffer *ids = nullptr, *positions = nullptr, *spans = nullptr;
        Buffer* last = nullptr;  // the row of the last real token, where there are others
        Tensor logits;
        Program* program = nullptr;
    };

    void add_pass(ProgramSet& set, Pass& pass, int64_t length);
    void write_inputs(const Pass& pass, std::span<const int32_t> tokens);
    Pass& pass_for(int64_t n_tokens);
    void run(Pass& pass, std::span<const int32_t> tokens);
    int64_t n_choosable(int64_t vocabulary) const;

    class Ahead;

    Store& store_;
    const Llama& llama_;
    GeneratorOptions options_;
    KvCache cache_;
    Buffer *rng_, *chosen_;                 // chosen_[context] i32: the likeliest token after each position
    Pass prefill_, long_prefill_, decode_;  // the long one may have no program
    int64_t n_fed_ = 0;
    std::vector<float> logits_;
    Profile* profile_ = nullptr;
};

}  // namespace ggq
