// Rotary position embedding in the half-split form (Su et al., 2021): element i of the first half of a head turns with
// element i of the second half by the angle position * frequency[i], which is one float product, as in the models' own
// code. A warp takes a token: a lane has N neighbouring pairs, whose sines and cosines it keeps, of every few heads.
// Head sizes that lanes do not share out evenly have a block a token, which computes the sines and cosines of up to
// kPairs pairs once, then turns these pairs of every head. Floor: the bytes of x and y.
#include "kernels/cuda/row.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128, kPairs = 128, kWarps = kThreads / kWarp;

template <int N>
__device__ __forceinline__ void turn(float (&a)[N], float (&b)[N], const float* cosines, const float* sines) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const float c = cosines[i], s = sines[i], turned = a[i] * c - b[i] * s;
        b[i] = b[i] * c + a[i] * s;
        a[i] = turned;
    }
}

// As turn_tokens; half = parts N, and parts divides a warp.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    turn_tokens_by_warps(T* y, const T* x, int64_t x_stride_t, int64_t x_stride_h, const int32_t* positions,
                         const float* frequencies, int64_t n_tokens, int n_heads, int parts, float sign) {
    constexpr int N = kWide<T>;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, at = lane % parts * N, half = parts * N;
    const int64_t token = blockIdx.x * int64_t{kWarps} + threadIdx.x / kWarp;
    if (token >= n_tokens) return;
    const auto position = static_cast<float>(positions[token]);
    float cosines[N], sines[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
        sincosf(__fmul_rn(position, frequencies[at + i]), &sines[i], &cosines[i]);
        sines[i] *= sign;
    }
    x += token * x_stride_t + at;
    y += token * n_heads * 2 * half + at;
#pragma unroll 4
    for (int head = lane / parts; head < n_heads; head += kWarp / parts) {
        float a[N], b[N];
        load<N>(x + head * x_stride_h, a);
        load<N>(x + head * x_stride_h + half, b);
        turn(a, b, cosines, sines);
        store<N>(y + head * 2 * half, a);
        store<N>(y + head * 2 * half + half, b);
    }
}

// y[T,H,2 half] contiguous; x with strides over T and H, positions[T], frequencies[half]
template <bool wide, typename T>
__global__ void __launch_bounds__(kThreads)
    turn_tokens(T* y, const T* x, int64_t x_stride_t, int64_t x_stride_h, const int32_t* positions,
                const float* frequencies, int n_heads, int64_t half, float sign) {
    constexpr int N = kWide<T>;
    __shared__ float cosines[kPairs + N], sines[kPairs + N];  // read in parts, the last maybe beyond
    const float position = static_cast<float>(positions[blockIdx.x]);
    x += blockIdx.x * x_stride_t;
    y += blockIdx.x * (n_heads * 2 * half);
    for (int64_t first = 0; first < half; first += kPairs) {
        const int n_pairs = half - first < kPairs ? static_cast<int>(half - first) : kPairs;
        __syncthreads();  // the last use of cosines and sines is over
        for (int i = static_cast<int>(threadIdx.x); i < n_pairs; i += kThreads) {
            float sine, cosine;
            sincosf(__fmul_rn(position, frequencies[first + i]), &sine, &cosine);
            cosines[i] = cosine;
            sines[i] = sign * sine;
        }
        __syncthreads();
        const int n_parts = ceil_div(n_pairs, N);
        for (int task = static_cast<int>(threadIdx.x); task < n_heads * n_parts; task += kThreads) {
            const int head = task / n_parts, pair = task % n_parts * N;
            const T* from = x + head * x_stride_h + first;
            T* to = y + head * 2 * half + first;
            float a[N], b[N];
            load_part<wide>(from, pair, n_pairs, a);
            load_part<wide>(from + half, pair, n_pairs, b);
            turn(a, b, cosines + pair, sines + pair);
            store_part<wide>(to, pair, n_pairs, a);
            store_part<wide>(to + half, pair, n_pairs, b);
        }
    }
}

}  // namespace

void rope(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0];
    const int64_t half = x.shape[2] / 2;
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        const bool all_wide = wide_rows<N>(y.as<T>(), half) && wide_rows<N>(x.as<T>(), half) && x.strides[0] % N == 0 &&
                              x.strides[1] % N == 0;
        const float sign = args.param<RopeParams>().inverse ? -1.0f : 1.0f;
        if (const int64_t parts = half / N; all_wide && parts > 0 && parts * N == half && kWarp % parts == 0) {
            launch(ctx, turn_tokens_by_warps<T>, static_cast<unsigned>(ceil_div(x.shape[0], kWarps)), kThreads, 0,
                   y.as<T>(), x.as<T>(), x.strides[0], x.strides[1], args.in[1].as<int32_t>(), args.in[2].as<float>(),
                   x.shape[0], static_cast<int>(x.shape[1]), static_cast<int>(parts), sign);
            return;
        }
        with_bool(all_wide, [&](auto wide) {
            launch(ctx, turn_tokens<wide.value, T>, static_cast<unsigned>(x.shape[0]), kThreads, 0, y.as<T>(),
                   x.as<T>(), x.strides[0], x.strides[1], args.in[1].as<int32_t>(), args.in[2].as<float>(),
                   static_cast<int>(x.shape[1]), half, sign);
        });
    });
}

}  // namespace ggq::cuda
