// To and from the quantized formats, the linears of the Llamas whole. Floor: both forms of the weight once.
#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

Cases conversions(const Scale& scale) {
    Cases cases;
    for (const Linear& l : linears(scale))
        for (DType format : {DType::nf4, DType::fp4, DType::int8}) {
            const std::string suffix = std::string(":") + name(format);
            const Shape shape{l.n, l.k};
            cases.push_back(
                {"dequantize" + suffix,
                 l.name(),
                 l.n,
                 {.op = &dequantize_op, .in = {quantized(format, shape)}, .params = CastParams{scale.real}}});
            cases.push_back(
                {"quantize" + suffix,
                 l.name(),
                 l.n,
                 {.op = &quantize_op, .in = {uniform(scale.real, shape)}, .params = QuantizeParams{format, {}}}});
        }
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("quantize", argc, argv, ggq::bench::conversions); }
