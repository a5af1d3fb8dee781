// The optimizer's update with 32-bit and with blockwise 8-bit state, and the norm of all gradients. Floor: each tensor
// once, what is updated both ways.
#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/code_maps.h"
#include "kernels/params.h"
#include "kernels/rounding.h"

namespace ggq::bench {

namespace {

Cases updates(const Scale& scale) {
    // A LoRA of rank 16 on one linear of an 8B and on all of them.
    const std::vector<int64_t> counts =
        scale.on_gpu ? std::vector<int64_t>{131072, 41943040} : std::vector<int64_t>{131072, 4194304};
    Cases cases;
    for (int64_t n : counts) {
        const Input p = uniform(DType::f32, {n}), m = uniform(DType::f32, {n}), v = uniform(DType::f32, {n}, 0, 1);
        const Input rate = constant(DType::f32, {1}, 1e-4), factor = constant(DType::f32, {1}, 1);
        const Input step = counters({10}), scales = uniform(DType::f32, {ceil_div(n, kStateBlock)}, 0.5, 1);
        const std::string shape = std::to_string(n);
        cases.push_back(
            {"adamw", shape, 1, {.op = &adamw_op, .in = {p, m, v, p, rate, step, factor}, .params = AdamWParams{}}});
        const std::vector<Input> in = {p, codes({n}), codes({n}), scales, scales, p, rate, step, factor};
        cases.push_back({"adamw_8bit", shape, 1, {.op = &adamw_8bit_op, .in = in, .params = AdamWParams{}}});
        cases.push_back({"global_norm", shape, 1, {.op = &global_norm_op, .in = {p}}});
    }
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("adamw", argc, argv, ggq::bench::updates); }
