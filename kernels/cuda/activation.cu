// silu(x) = x s(x) with s(x) = 1 / (1 + exp(-x)), swiglu(gate, up) = silu(gate) * up (Shazeer, "GLU variants improve
// transformer", 2020), and their gradients: silu'(x) = s (1 + x (1 - s)). One pass in accesses of 16 bytes; floor: the
// bytes of all operands.
#include "kernels/cuda/elementwise.cuh"

namespace ggq::cuda {

namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }
__device__ __forceinline__ float silu_slope(float x, float s) { return s * (1 + x * (1 - s)); }

struct Silu {
    __device__ float operator()(float x) const { return x * sigmoid(x); }
};

struct SiluBackward {
    __device__ float operator()(float dy, float x) const { return dy * silu_slope(x, sigmoid(x)); }
};

struct Swiglu {
    __device__ float operator()(float gate, float up) const { return gate * sigmoid(gate) * up; }
};

template <typename T>
struct SwigluBackward {
    static constexpr int kWidth = kWide<T>;
    T *dgate, *dup;
    const T *dy, *gate, *up;

    bool wide() const {
        return aligned(dgate, 16) && aligned(dup, 16) && aligned(dy, 16) && aligned(gate, 16) && aligned(up, 16);
    }
    template <int N>
    __device__ void run(int64_t i) const {
        float d[N], g[N], u[N];
        load<N>(dy + i, d);
        load<N>(gate + i, g);
        load<N>(up + i, u);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float s = sigmoid(g[j]), dg = d[j] * u[j] * silu_slope(g[j], s);
            u[j] = d[j] * g[j] * s;
            g[j] = dg;
        }
        store<N>(dgate + i, g);
        store<N>(dup + i, u);
    }
};

}  // namespace

void silu(const CudaContext& ctx, const KernelArgs& args) { map_unary(ctx, args.out[0], args.in[0], Silu{}); }

void silu_backward(const CudaContext& ctx, const KernelArgs& args) {
    map_binary(ctx, args.out[0], args.in[0], args.in[1], SiluBackward{});
}

void swiglu(const CudaContext& ctx, const KernelArgs& args) {
    map_binary(ctx, args.out[0], args.in[0], args.in[1], Swiglu{});
}

void swiglu_backward(const CudaContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        map(ctx, args.out[0].n_elems(),
            SwigluBackward<T>{.dgate = args.out[0].as<T>(),
                              .dup = args.out[1].as<T>(),
                              .dy = args.in[0].as<T>(),
                              .gate = args.in[1].as<T>(),
                              .up = args.in[2].as<T>()});
    });
}

}  // namespace ggq::cuda
