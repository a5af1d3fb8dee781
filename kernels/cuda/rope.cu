// Rotary position embedding in the half-split form (Su et al., 2021): element i of the first half of a head turns with
// element i of the second half by the angle position * frequency[i], which is one float product, as in the models' own
// code. Queries and keys of a token turn by the same angles, in one launch. A warp takes several heads of a token: it
// asks for all of them, finds the sines and cosines of their pairs once among its lanes, then a lane turns N
// neighbouring pairs of every few heads. Head sizes that lanes do not share out evenly have a block a token, which
// computes the sines and cosines of up to kPairs pairs once, then turns these pairs of every head. Floor: the bytes of
// x and y.
#include "kernels/cuda/row.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128, kPairs = 128, kWarps = kThreads / kWarp;
constexpr int kHeads = 5;  // of a lane: 32 query and 8 key heads of 128 or of 64 are then whole warps' work

// y[T,n,2 half] contiguous; x with strides over T and its n heads
template <typename T>
struct Heads {
    T* y;
    const T* x;
    int64_t stride_t, stride_h;
    int n;
};

// Heads [0, q.n) are those of q, the rest those of k, of which there may be none.
template <typename T>
struct Turn {
    Heads<T> q, k;
    const int32_t* positions;  // [T]
    const float* frequencies;  // [half]
    int64_t half;
    float sign;  // -1 turns back

    __device__ __forceinline__ const T* from(int64_t token, int head) const {
        return head < q.n ? q.x + token * q.stride_t + head * q.stride_h
                          : k.x + token * k.stride_t + (head - q.n) * k.stride_h;
    }
    __device__ __forceinline__ T* to(int64_t token, int head) const {
        return head < q.n ? q.y + (token * q.n + head) * 2 * half : k.y + (token * k.n + head - q.n) * 2 * half;
    }
    // Of one pair at a position.
    __device__ __forceinline__ void angle(float position, int64_t pair, float& cosine, float& sine) const {
        sincosf(__fmul_rn(position, frequencies[pair]), &sine, &cosine);
        sine *= sign;
    }
};

template <int N>
__device__ __forceinline__ void turn(float (&a)[N], float (&b)[N], const float* cosines, const float* sines) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const float c = cosines[i], s = sines[i], turned = a[i] * c - b[i] * s;
        b[i] = b[i] * c + a[i] * s;
        a[i] = turned;
    }
}

// A warp turns `kHeads` times 32 / parts heads of a token; half = parts N, and parts divides a warp. Warps of a token
// are neighbours.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    turn_tokens_by_warps(const Turn<T> t, int64_t n_tokens, int warps_a_token, int parts) {
    constexpr int N = kWide<T>;
    __shared__ alignas(16) float all_cosines[kWarps][kWarp * N], all_sines[kWarps][kWarp * N];
    begin_dependent();
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int64_t task = blockIdx.x * int64_t{kWarps} + warp, token = task / warps_a_token;
    if (token >= n_tokens) return;
    const int at = lane % parts * N, half = parts * N, step = kWarp / parts;
    const int first = static_cast<int>(task % warps_a_token) * kHeads * step + lane / parts;
    const int n_heads = t.q.n + t.k.n;
    Held<T, N> a[kHeads], b[kHeads];
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
        const int head = first + i * step;
        if (head >= n_heads) continue;
        const T* x = t.from(token, head) + at;
        a[i].template read<true>(x, 0, N);
        b[i].template read<true>(x, half, half + N);
    }
    const auto position = static_cast<float>(t.positions[token]);
    for (int pair = lane; pair < half; pair += kWarp)
        t.angle(position, pair, all_cosines[warp][pair], all_sines[warp][pair]);
    __syncwarp();
    float cosines[N], sines[N];
    load_part<true>(all_cosines[warp], at, half, cosines);
    load_part<true>(all_sines[warp], at, half, sines);
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
        const int head = first + i * step;
        if (head >= n_heads) continue;
        float low[N], high[N];
#pragma unroll
        for (int j = 0; j < N; ++j) low[j] = a[i][j], high[j] = b[i][j];
        turn(low, high, cosines, sines);
        T* y = t.to(token, head) + at;
        store<N>(y, low);
        store<N>(y + half, high);
    }
}

template <bool wide, typename T>
__global__ void __launch_bounds__(kThreads) turn_tokens(const Turn<T> t) {
    constexpr int N = kWide<T>;
    __shared__ float cosines[kPairs + N], sines[kPairs + N];  // read in parts, the last maybe beyond
    begin_dependent();
    const auto position = static_cast<float>(t.positions[blockIdx.x]);
    for (int64_t first = 0; first < t.half; first += kPairs) {
        const int n_pairs = t.half - first < kPairs ? static_cast<int>(t.half - first) : kPairs;
        __syncthreads();  // the last use of cosines and sines is over
        for (int i = static_cast<int>(threadIdx.x); i < n_pairs; i += kThreads)
            t.angle(position, first + i, cosines[i], sines[i]);
        __syncthreads();
        const int n_parts = ceil_div(n_pairs, N), n_heads = t.q.n + t.k.n;
        for (int task = static_cast<int>(threadIdx.x); task < n_heads * n_parts; task += kThreads) {
            const int head = task / n_parts, pair = task % n_parts * N;
            const T* from = t.from(blockIdx.x, head) + first;
            T* to = t.to(blockIdx.x, head) + first;
            float a[N], b[N];
            load_part<wide>(from, pair, n_pairs, a);
            load_part<wide>(from + t.half, pair, n_pairs, b);
            turn(a, b, cosines + pair, sines + pair);
            store_part<wide>(to, pair, n_pairs, a);
            store_part<wide>(to + t.half, pair, n_pairs, b);
        }
    }
}

template <typename T>
Heads<T> heads_of(const View& y, const View& x) {
    return {y.as<T>(), x.as<T>(), x.strides[0], x.strides[1], static_cast<int>(x.shape[1])};
}

template <int N, typename T>
bool wide(const Heads<T>& h, int64_t half) {
    return wide_rows<N>(h.y, half) && wide_rows<N>(h.x, half) && h.stride_t % N == 0 && h.stride_h % N == 0;
}

}  // namespace

void rope(const CudaContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    const int64_t n_tokens = x.shape[0], half = x.shape[2] / 2;
    with_real(x.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        Turn<T> t{heads_of<T>(args.out[0], x), {},   args.in[1].as<int32_t>(),
                  args.in[2].as<float>(),      half, args.param<RopeParams>().inverse ? -1.0f : 1.0f};
        if (args.in.size() > 3) t.k = heads_of<T>(args.out[1], args.in[3]);
        const bool all_wide = wide<N>(t.q, half) && wide<N>(t.k, half);
        if (const int64_t parts = half / N; all_wide && parts > 0 && parts * N == half && kWarp % parts == 0) {
            const int64_t warps = ceil_div(t.q.n + t.k.n, kHeads * kWarp / parts);
            launch_dependent(ctx, turn_tokens_by_warps<T>, static_cast<unsigned>(ceil_div(n_tokens * warps, kWarps)),
                             kThreads, 0, t, n_tokens, static_cast<int>(warps), static_cast<int>(parts));
            return;
        }
        with_bool(all_wide, [&](auto is_wide) {
            launch_dependent(ctx, turn_tokens<is_wide.value, T>, static_cast<unsigned>(n_tokens), kThreads, 0, t);
        });
    });
}

}  // namespace ggq::cuda
