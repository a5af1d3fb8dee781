// Attention of one causal document, its gradient, and one query over a cache. FLOPs are those of the products that the
// spans ask for (2 forward, 5 backward, half of the square when causal), whatever the kernels compute beside; decoding
// is bound by the bytes of the keys and values.
#include <cmath>

#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

// T queries at the end of S keys.
Call forward(DType real, const Heads& h, int64_t T, int64_t S, DType stored) {
    const Shape query{T, h.queries, h.size}, key{S, h.keys, h.size};
    return {.op = &attention_op,
            .in = {uniform(real, query), uniform(stored, key), uniform(stored, key), causal_spans(T, S)},
            .params = AttentionParams{1 / std::sqrt(static_cast<float>(h.size))},
            .keys_a_query = static_cast<double>(S) - static_cast<double>(T - 1) / 2};
}

// The log-sum-exp of T keys that are all alike stands for that of the forward pass.
Call backward(DType real, const Heads& h, int64_t T) {
    const Shape query{T, h.queries, h.size}, key{T, h.keys, h.size};
    const Input lse = constant(DType::f32, {h.queries, T}, std::log(static_cast<double>(T)));
    return {.op = &attention_backward_op,
            .in = {uniform(real, query), uniform(real, query), uniform(real, key), uniform(real, key),
                   uniform(real, query), lse, causal_spans(T, T)},
            .params = AttentionParams{1 / std::sqrt(static_cast<float>(h.size))},
            .keys_a_query = static_cast<double>(T + 1) / 2};
}

Cases attention(const Scale& scale) {
    const std::vector<int64_t> lengths =
        scale.on_gpu ? std::vector<int64_t>{512, 2048, 8192} : std::vector<int64_t>{512};
    const std::vector<int64_t> contexts =
        scale.on_gpu ? std::vector<int64_t>{512, 4096, 32768} : std::vector<int64_t>{4096};
    Cases cases;
    for (const Heads& h : heads(scale)) {
        for (int64_t T : lengths) {
            cases.push_back({"attention", h.name(), T, forward(scale.real, h, T, T, scale.real)});
            cases.push_back({"attention_backward", h.name(), T, backward(scale.real, h, T)});
        }
        for (int64_t S : contexts)
            for (DType stored : {DType::f32, DType::f16, DType::bf16})
                cases.push_back({std::string("attention_decode:") + name(stored), h.name(), S,
                                 forward(scale.real, h, 1, S, stored)});
    }
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("attention", argc, argv, ggq::bench::attention); }
