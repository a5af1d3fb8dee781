// A Llama of two layers with random weights, an adapter with dropout, and an update of three documents.
#pragma once

#include "models/lora.h"
#include "models/model.h"
#include "models/train/engine.h"

namespace ggq::test {

inline LlamaConfig small_config(int64_t n_layers = 2) {
    LlamaConfig c;
    c.vocab_size = 97;
    c.hidden_size = 64;
    c.intermediate_size = 96;
    c.num_hidden_layers = n_layers;
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    c.head_dim = 16;
    c.max_position_embeddings = 512;
    c.rms_norm_eps = 1e-5;
    c.initializer_range = 0.2;
    return c;
}

inline Model small_model(int64_t n_layers = 2) {
    const LlamaConfig config = small_config(n_layers);
    return {{}, config, {}, initial_source(config, 7), {}};
}

inline EngineOptions small_options(const Backend& backend, int64_t n_tokens) {
    EngineOptions o;
    o.weights.compute_dtype = backend.compute_dtype();
    o.weights.quant = DType::nf4;
    LoraConfig lora;
    lora.r = 4;
    lora.alpha = 8;
    lora.dropout = 0.1;
    lora.target_pattern = std::string(kAllLinear);
    o.weights.lora = lora;
    o.lengths = {n_tokens};
    return o;
}

// Documents of n / 4, n / 2 and the rest.
inline Update small_update(int64_t n_tokens, int64_t seed = 0) {
    MicroBatch batch;
    int64_t first = 0;
    for (int64_t t = 0; t < n_tokens; ++t) {
        if (t == n_tokens / 4 || t == n_tokens / 4 + n_tokens / 2) first = t;
        batch.ids.push_back(static_cast<int32_t>((t * 31 + seed * 17 + t / 5) % 97));
        batch.labels.push_back(t % 3 == 0 ? kIgnoredLabel : static_cast<int32_t>((t * 13 + seed) % 97));
        batch.positions.push_back(static_cast<int32_t>(t - first));
        batch.spans.push_back(static_cast<int32_t>(first));
        batch.spans.push_back(static_cast<int32_t>(t + 1));
        batch.label_tokens += t % 3 != 0;
    }
    batch.n_tokens = n_tokens;
    const int64_t labels = batch.label_tokens;
    return {{std::move(batch)}, 3, n_tokens, labels};
}

// Update `number` of a run, of several micro-batches, no two alike.
inline Update small_update_of(int number, int n_micro_batches, int64_t n_tokens) {
    Update update;
    for (int i = 0; i < n_micro_batches; ++i) {
        Update one = small_update(n_tokens, number * 7 + i);
        update.micro_batches.push_back(std::move(one.micro_batches[0]));
        update.n_samples += one.n_samples;
        update.n_tokens += one.n_tokens;
        update.label_tokens += one.label_tokens;
    }
    return update;
}

// An engine over a set of its own, loaded.
struct SmallTraining {
    SmallTraining(Backend& backend, const EngineOptions& options, int64_t n_layers = 2)
        : model(small_model(n_layers)), set(backend), engine(set, model, options) {}

    void load() {
        set.allocate([&] {
            load_weights(set.store(), engine.llama(), *model.weights);
            fill_new_adapter(set.store(), engine.llama(), 3);
        });
    }

    Model model;
    ProgramSet set;
    TrainEngine engine;
};

}  // namespace ggq::test
