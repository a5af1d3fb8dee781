// OpDef: the row of one op. To add an op, write builder, gradient and row in ggq/ops/<family>.cpp, its kernels in
// kernels/cpu/<family>.cpp and kernels/cuda/<family>.cu, declare both in kernels/kernels.h, name the row in
// ggq/op_table.h and the builder in ggq/ops.h, and give it a case in tests/op_cases_*.cpp.
//
// The signature says names, dtypes and shapes of inputs and outputs in one line, and is what the shape rule and the
// error messages are made of:
//
//     "x:real[T,C] w:float[C] -> y[T,C] rstd:stat[T]"
//
//   types   real    f32, f64, f16 or bf16, one and the same for all reals of a call (the default of outputs)
//           stat    f64 if the reals are f64, else f32
//           float   any float dtype    quant   any block format    weight   float or quant    any, f32, i32, i64, u8
//   shapes  a letter stands for one size within a call; D/2 is half of D; a number is itself; [...] is any shape, the
//           same wherever it occurs in the call; [*] is any shape, which the op's own rule looks at
//   marks   x~   the kernel takes any strides but 1 in the last dimension; x~~ any strides; else the builder copies
//           y!   in-out: written in place, and the first outputs of the op, in order
//           dw?  optional; optional inputs and outputs come last
//           a+   one or more, all of one type; what is repeated comes last and equally often: a a a b b b
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "ggq/tensor.h"
#include "kernels/kernel.h"

namespace ggq {

struct OpDef;
class Gradients;

namespace cuda {
struct Device;  // kernels/cuda/device.h
}

struct OpCall {
    const OpDef& op;
    std::span<const TensorType> in;
    std::span<const TensorType> out;
    const ParamBlock& params;
    std::string_view where;   // the layer, for messages
    double keys_a_query = 0;  // mean of attention's spans, for flops; 0: not known

    template <typename P>
    const P& param() const {
        return params.as<P>();
    }
};

// Bytes of the computing type of a call, which is that of its first input.
inline int64_t real_bytes(const OpCall& call) { return info(call.in[0].dtype).bytes; }

// Memory traffic of one call, read and written: what its row says, else every input and every output once, as it is
// stored, in-out ones in both roles. What goes to and from workspace is not in it, and a view moves nothing.
int64_t traffic_bytes(const OpCall& call);

struct OpDef {
    const char* name;
    const char* signature;

    // Only for shapes that a signature cannot say: checks `call.in` and gives the output types.
    std::vector<TensorType> (*infer)(const OpCall& call) = nullptr;
    // Emits the backward steps of one call; null where there is no gradient.
    void (*gradient)(Gradients& g) = nullptr;
    // Scratch bytes that the kernels want: on the CPU with so many threads, on a card.
    int64_t (*cpu_workspace)(const OpCall& call, int n_threads) = nullptr;
    int64_t (*cuda_workspace)(const OpCall& call, const cuda::Device& device) = nullptr;
    // On a card: the quantized input that the kernel would restore in whole, in its workspace, before it multiplies;
    // -1: none. The kernel takes that input in the computing type as well, with the same bits, so that a plan may
    // restore it ahead, and once for several steps (ggq/restore_steps.h).
    int (*cuda_restores)(const OpCall& call, const cuda::Device& device) = nullptr;
    // Arithmetic of one call, multiply-add counting 2; null means negligible.
    double (*flops)(const OpCall& call) = nullptr;
    // Traffic where it is not each input and output once; see traffic_bytes().
    int64_t (*bytes)(const OpCall& call) = nullptr;
    bool view = false;  // gives another look at its input's memory and has no kernel
    // The kernel may write its first output over this input, of the same type; -1: none. So a sum grows where it is.
    int over_input = -1;

    Kernel kernel = {};
};

// One input or output of a parsed signature.
struct OpArg {
    std::string_view name, type, dims;
    bool inout = false, optional = false, repeated = false;
    int free_strides = 0;  // 0 contiguous, 1 all but the last, 2 all
};

struct Signature {
    std::vector<OpArg> in, out;  // in-out inputs stand in both
};

// Of a call with so many inputs: what is repeated stands there as often as it is given; by default once.
Signature parse_signature(const OpDef& op, int64_t n_in = -1);

// Output types of a call by its signature and infer; throws Error "[op] input w: expected ..., got ...".
std::vector<TensorType> output_types(const OpCall& call, const Signature& signature);

// Every op, for tests, benches and printing.
std::span<const OpDef* const> op_table();

}  // namespace ggq
