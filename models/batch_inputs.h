// The input tensors through which micro-batches reach the programs of a Llama.
#pragma once

#include <cstdint>
#include <map>

#include "ggq/buffer.h"
#include "ggq/graph.h"
#include "models/llama.h"
#include "models/text/batches.h"

namespace ggq {

class BatchInputs {
public:
    // For micro-batches of up to `longest` tokens; shorter ones take the front of the same memory.
    BatchInputs(Store& store, int64_t longest);

    // The tensors of a micro-batch of so many tokens, before the store is allocated.
    LlamaInputs bind(Graph& graph, int64_t length);
    Tensor bind_labels(Graph& graph, int64_t length);  // [T] i32

    // `seed` and `counter` decide the dropout masks.
    void write(const MicroBatch& batch, uint64_t seed = 0, int64_t counter = 0);

private:
    struct Tokens {
        Buffer *ids, *labels, *positions, *spans;
    };

    const Tokens& of(int64_t length);

    Store& store_;
    Tokens whole_;
    std::map<int64_t, Tokens> parts_;  // by length
    Buffer* rng_;
};

}  // namespace ggq
