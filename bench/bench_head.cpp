// The loss: of logits that are there, and the head with its loss in one op, alone and with the gradient of its input.
#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

Input labels(int64_t T, int64_t V) {
    return integers({T}, [V](int64_t i) { return static_cast<int32_t>(i * 7919 % V); });
}

void add_losses(Cases& cases, const Scale& scale, int64_t T, int64_t V) {
    const Input logits = uniform(scale.real, {T, V}, -4, 4);
    const Input lse = uniform(DType::f32, {T}, 12, 13), one = constant(DType::f32, {1}, 1);
    const std::string shape = std::to_string(V);
    cases.push_back({"cross_entropy", shape, T, {.op = &cross_entropy_op, .in = {logits, labels(T, V)}}});
    cases.push_back({"cross_entropy_backward",
                     shape,
                     T,
                     {.op = &cross_entropy_backward_op, .in = {one, logits, labels(T, V), lse}}});
}

void add_heads(Cases& cases, const Scale& scale, int64_t T, int64_t C, int64_t V) {
    for (HeadGradient gradient : {HeadGradient::none, HeadGradient::input}) {
        const bool with = gradient == HeadGradient::input;
        const Input x = uniform(scale.real, {T, C}), w = uniform(scale.real, {V, C}, -0.02, 0.02);
        cases.push_back({with ? "linear_cross_entropy:dx" : "linear_cross_entropy",
                         std::to_string(V) + "x" + std::to_string(C),
                         T,
                         {.op = &linear_cross_entropy_op,
                          .in = {x, w, labels(T, V)},
                          .params = LinearCrossEntropyParams{gradient},
                          .n_out = with ? size_t{2} : size_t{1}}});
    }
}

Cases head(const Scale& scale) {
    const int64_t V = scale.on_gpu ? 128256 : 32000;
    const std::vector<int64_t> tokens =
        scale.on_gpu ? std::vector<int64_t>{64, 512, 2048, 8192} : std::vector<int64_t>{64, 256};
    Cases cases;
    for (int64_t T : tokens) {
        add_losses(cases, scale, T, V);
        for (int64_t C : widths(scale))
            if (scale.on_gpu || C < 4096) add_heads(cases, scale, T, C, V);
    }
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("head", argc, argv, ggq::bench::head); }
