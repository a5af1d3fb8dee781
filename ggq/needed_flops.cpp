#include "ggq/needed_flops.h"

#include "ggq/op_table.h"

namespace ggq {

namespace {

// With so many keys a query, of the steps that are losses or of the others.
double sum_of(const Graph& graph, double keys_a_query, bool losses) {
    std::vector<TensorType> types;
    double sum = 0;
    for (const Step& step : graph.steps()) {
        if (!step.op->flops || (step.op == &linear_cross_entropy_op) != losses) continue;
        OpCall call = graph.call(step, types);
        call.keys_a_query = keys_a_query;
        sum += step.op->flops(call);
    }
    return sum;
}

}  // namespace

NeededFlops needed_flops(const Graph& graph, int64_t n_tokens) {
    const auto n = static_cast<double>(n_tokens);
    const double one_key = sum_of(graph, 1, false), two_keys = sum_of(graph, 2, false);
    return {.a_token = (2 * one_key - two_keys) / n,
            .a_key = (two_keys - one_key) / n,
            .a_label = sum_of(graph, 1, true) / n};
}

}  // namespace ggq
