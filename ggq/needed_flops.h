// The arithmetic that a graph needs, whatever a plan runs twice.
#pragma once

#include "ggq/graph.h"

namespace ggq {

// Of one pass over T tokens, by what it grows with. Multiply-add counts 2.
struct NeededFlops {
    double a_token = 0;  // products and what else goes over all tokens
    double a_key = 0;    // attention, of each key that a token sees
    double a_label = 0;  // the loss and the head before it, of each token that carries a label
};

NeededFlops needed_flops(const Graph& graph, int64_t n_tokens);

}  // namespace ggq
