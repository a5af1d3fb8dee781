// Generator: prompts in, tokens out, over KV caches whose size is planned with the rest, one for each of some slots.
//
// A prompt goes into its slot by chunks of kPrefill tokens, on a card with room a long one by chunks of kLongPrefill
// (the last one filled up with tokens that nobody sees); then one token at a time, of all slots together. The last
// chunk and each such step also choose the next token and make it the one to be read, on the device: a step can begin
// before the tokens of the one in front have come to the host. The caches of all slots lie end to end.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ggq/program_set.h"
#include "models/generate/sampler.h"
#include "models/llama.h"

namespace ggq {

struct GeneratorOptions {
    int64_t context = 512;  // tokens that the cache of a slot holds: prompt and answer
    DType kv_dtype = DType::f32;
    int64_t n_slots = 1;
    std::vector<LogitBias> logit_bias = {};  // of every token that is chosen
};

enum class StopReason : uint8_t { stop_token, length, context, stopped };

struct GenerationOptions {
    SamplerOptions sampler;
    int64_t max_new_tokens = 256;
    std::vector<int32_t> stop_tokens;
    int64_t vocabulary = 0;  // tokens that can be chosen: those that the tokenizer knows; 0: all that have a logit
};

struct Generation {
    std::vector<int32_t> tokens;  // the new ones, without the stop token
    StopReason reason = StopReason::length;
};

class Generator {
public:
    // Declares the caches and plans; `set` and `llama` must outlive it.
    Generator(ProgramSet& set, const Llama& llama, const GeneratorOptions& options);
    Generator(const Generator&) = delete;
    Generator& operator=(const Generator&) = delete;

    int64_t vocab_size() const { return llama_.config.vocab_size; }
    int64_t context() const { return options_.context; }
    int64_t n_slots() const { return options_.n_slots; }
    int64_t cache_bytes() const;

    // `on_token` sees each new token as it comes and returns false to end the generation. Throws Error when the prompt
    // is empty or leaves no room in the context.
    // The first `n_kept` tokens of the prompt are in the first slot's cache already, from the prompt and the answer
    // before; one at least is not.
    Generation generate(std::span<const int32_t> prompt, const GenerationOptions& options,
                        const std::function<bool(int32_t)>& on_token = {}, int64_t n_kept = 0);

    // What generate() and the batches of generate/batch.h are made of. begin() reads a prompt into a slot while no step
    // is under way and returns the first new token; each step makes one more of every slot that has begun and not
    // ended, and has room. Tokens are -1 where logits are not finite.
    int32_t begin(int64_t slot, std::span<const int32_t> prompt, const SamplerOptions& options, int64_t vocabulary,
                  int64_t n_kept = 0);
    void end(int64_t slot);
    void start_step();
    void await_step();  // the first of those that were started
    int64_t n_under_way() const { return n_started_ - n_awaited_; }
    int64_t most_under_way() const;                 // where starting more would gain nothing
    int32_t token(int64_t slot, int64_t position);  // of a step that was awaited
    void drain() noexcept;                          // waits for all steps, whatever becomes of them

    // Logits [V] after `tokens`, which follow those fed into the first slot, of which reset() keeps the first so many.
    const std::vector<float>& feed(std::span<const int32_t> tokens);
    void reset(int64_t n_kept = 0) { n_fed_ = n_kept; }
    void set_profile(Profile* profile) { profile_ = profile; }

private:
    // A program and its inputs. Those of the step are state, a row a slot, and go on by themselves.
    struct Pass {
        int64_t length = 0;
        Buffer *ids = nullptr, *positions = nullptr, *spans = nullptr, *at = nullptr;
        Buffer* rows = nullptr;  // [length] or [1]: of which slot a token is chosen; -1: none
        Buffer* last = nullptr;  // of a chunk: the row of the last real token
        Tensor logits;
        Program* program = nullptr;
    };

    void declare_state();
    void add_chunk(ProgramSet& set, Pass& pass, int64_t length);
    void add_step(ProgramSet& set);
    Tensor hidden(Graph& graph, const Pass& pass) const;
    void choose(Graph& graph, const Pass& pass);
    Tensor biased(Graph& graph, Tensor logits);
    void write_bias();

    void settle();
    void put(int64_t slot, int32_t id, int64_t position, bool goes_on);
    void write_chunk(const Pass& pass, int64_t slot, std::span<const int32_t> tokens, int32_t row);
    const Pass& feed(int64_t slot, std::span<const int32_t> tokens, bool choosing);

    Store& store_;
    const Llama& llama_;
    GeneratorOptions options_;
    KvCache cache_;
    int64_t slot_rows_ = 0;  // of the caches
    Buffer *rng_ = nullptr, *settings_ = nullptr, *seeds_ = nullptr;
    Buffer* log_ = nullptr;           // [n_slots, context] i32: the token at each position
    std::vector<Buffer*> biases_;     // [rows, V] of the programs, all rows the same; none without logit_bias
    Pass chunk_, long_chunk_, step_;  // the long one may have no program
    bool settled_ = false;
    int64_t n_fed_ = 0, n_started_ = 0, n_awaited_ = 0;
    std::vector<float> logits_;
    Profile* profile_ = nullptr;
};

}  // namespace ggq
