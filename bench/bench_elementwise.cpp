// What memory bounds in a layer: norms, RoPE, activations, sums, casts. Floor: each tensor once.
#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

// Ops of n_in tensors [T,C] and no parameters.
struct Plain {
    const OpDef* op;
    size_t n_in;
};

const Plain kPlain[] = {{&add_op, 2},
                        {&mul_op, 2},
                        {&silu_op, 1},
                        {&silu_backward_op, 2},
                        {&swiglu_op, 2},
                        {&softmax_op, 1},
                        {&swiglu_backward_op, 3},
                        {&softmax_backward_op, 2},
                        {&accumulate_op, 2}};

void add_plain(Cases& cases, const Scale& scale, int64_t T, int64_t C) {
    for (const Plain& p : kPlain) {
        const std::vector<Input> in(p.n_in, uniform(scale.real, {T, C}));
        cases.push_back({p.op->name, std::to_string(C), T, {.op = p.op, .in = in}});
    }
}

void add_norms(Cases& cases, const Scale& scale, int64_t T, int64_t C) {
    const Input x = uniform(scale.real, {T, C}), w = uniform(scale.real, {C}), rstd = uniform(DType::f32, {T}, 0.5, 2);
    const std::string shape = std::to_string(C);
    cases.push_back({"rms_norm", shape, T, {.op = &rms_norm_op, .in = {x, w}, .params = RmsNormParams{}}});
    cases.push_back({"rms_norm_backward", shape, T, {.op = &rms_norm_backward_op, .in = {x, x, w, rstd}, .n_out = 1}});
    cases.push_back({"rms_norm_backward:dw", shape, T, {.op = &rms_norm_backward_op, .in = {x, x, w, rstd}}});
}

void add_rest(Cases& cases, const Scale& scale, int64_t T, int64_t C) {
    constexpr int64_t kHeadSize = 64;
    const std::string shape = std::to_string(C);
    const Input x = uniform(scale.real, {T, C}), heads = uniform(scale.real, {T, C / kHeadSize, kHeadSize}),
                keys = uniform(scale.real, {T, C / kHeadSize / 4, kHeadSize});
    const Input positions = integers({T}, [](int64_t i) { return static_cast<int32_t>(i); });
    const Input frequencies = uniform(DType::f32, {kHeadSize / 2}, 0, 1);
    cases.push_back(
        {"rope", shape, T, {.op = &rope_op, .in = {heads, positions, frequencies, keys}, .params = RopeParams{}}});
    cases.push_back(
        {"dropout", shape, T, {.op = &dropout_op, .in = {x, counters({1, 7})}, .params = DropoutParams{.p = 0.05f}}});
    for (DType to : {DType::f32, DType::f16, DType::bf16})
        if (to != scale.real)
            cases.push_back(
                {std::string("cast:") + name(to), shape, T, {.op = &cast_op, .in = {x}, .params = CastParams{to}}});
}

Cases elementwise(const Scale& scale) {
    const std::vector<int64_t> rows = scale.on_gpu  ? scale.rows()
                                      : scale.large ? std::vector<int64_t>{512, 4096}
                                                    : std::vector<int64_t>{512};
    Cases cases;
    for (int64_t C : widths(scale))
        for (int64_t T : rows)
            for (const auto add : {add_plain, add_norms, add_rest}) add(cases, scale, T, C);
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("elementwise", argc, argv, ggq::bench::elementwise); }
