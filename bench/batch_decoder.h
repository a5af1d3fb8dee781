// Steps of a batch of texts that are generated at once: a token a sequence, each with its own part of the caches, all
// at the same position. Tokens are given by the host; logits are computed and stay where they are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ggq/program_set.h"
#include "models/llama.h"

namespace ggq::bench {

class BatchDecoder {
public:
    BatchDecoder(ProgramSet& set, const Llama& llama, int64_t batch, int64_t context, DType kv)
        : store_(set.store()), batch_(batch), context_(context) {
        const LlamaConfig& c = llama.config;
        const TensorType type{kv, {batch * context, c.num_key_value_heads, c.head_dim}, {}};
        for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
            cache_.k.push_back(&store_.declare("k_caches." + std::to_string(i), Kind::state, type));
            cache_.v.push_back(&store_.declare("v_caches." + std::to_string(i), Kind::state, type));
        }
        const auto input = [&](const char* name, const Shape& shape) {
            return &store_.declare(name, Kind::input, {DType::i32, shape, {}});
        };
        cache_.at = input("batch_at", {batch});
        ids_ = input("batch_ids", {batch});
        positions_ = input("batch_positions", {batch});
        spans_ = input("batch_spans", {batch, 2});
        Buffer* rng = &store_.declare("batch_rng", Kind::input, {DType::i64, {2}, {}});
        auto graph = std::make_shared<Graph>();
        const LlamaInputs in{graph->bind(*ids_), graph->bind(*positions_), graph->bind(*spans_), graph->bind(*rng)};
        graph->mark_output(llama_logits(*graph, llama, llama_hidden(*graph, llama, in, {.cache = &cache_})));
        program_ = &set.add("a step of a batch", graph, {}, [this] { write(0); });
    }

    // Starts the step in which every sequence reads its token number `position`.
    void step(int64_t position, Profile* profile) {
        write(position);
        if (profile) program_->run(profile);
        else program_->start();
    }

private:
    void write(int64_t position) {
        const auto n = static_cast<size_t>(batch_);
        std::vector<int32_t> ids(n), positions(n, static_cast<int32_t>(position)), at(n), spans(2 * n);
        for (size_t i = 0; i < n; ++i) {
            const auto first = static_cast<int32_t>(static_cast<int64_t>(i) * context_);
            ids[i] = static_cast<int32_t>(i) + 1;
            at[i] = first + positions[i];
            spans[2 * i] = first;
            spans[2 * i + 1] = at[i] + 1;
        }
        store_.write(*ids_, ids.data());
        store_.write(*positions_, positions.data());
        store_.write(*cache_.at, at.data());
        store_.write(*spans_, spans.data());
    }

    Store& store_;
    int64_t batch_, context_;
    KvCache cache_;
    Buffer *ids_, *positions_, *spans_;
    Program* program_;
};

}  // namespace ggq::bench
