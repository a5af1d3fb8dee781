// One pass over flat contiguous arrays. A body holds its pointers, says how many elements make an access of 16 bytes of
// its widest type (kWidth), whether its pointers allow that (wide()), and does elements i .. i + N - 1 in run<N>(i).
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/real.cuh"

namespace ggq::cuda {

inline constexpr int kMapThreads = 256;

inline bool aligned(const void* p, int64_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// Elements of which none of the types T takes more than 16 bytes.
template <typename... T>
inline constexpr int kWidthOf = []() {
    int widest = 1;
    ((widest = static_cast<int>(sizeof(T)) > widest ? static_cast<int>(sizeof(T)) : widest), ...);
    return 16 / widest;
}();

template <int width, typename Body>
__global__ void __launch_bounds__(kMapThreads) map_kernel(int64_t n, Body body) {
    begin_dependent();
    const int64_t first = int64_t{blockIdx.x} * kMapThreads + threadIdx.x, step = int64_t{gridDim.x} * kMapThreads;
    const int64_t n_groups = n / width;
    for (int64_t group = first; group < n_groups; group += step) body.template run<width>(group * width);
    if constexpr (width > 1)
        for (int64_t i = n_groups * width + first; i < n; i += step) body.template run<1>(i);
}

template <typename Body>
void map(const CudaContext& ctx, int64_t n, const Body& body) {
    if (body.wide()) {
        const unsigned blocks = blocks_for(ctx, ceil_div(n, Body::kWidth), kMapThreads);
        launch_dependent(ctx, map_kernel<Body::kWidth, Body>, blocks, kMapThreads, 0, n, body);
    } else {
        launch_dependent(ctx, map_kernel<1, Body>, blocks_for(ctx, n, kMapThreads), kMapThreads, 0, n, body);
    }
}

// The same over several arrays in one launch: of many small ones each alone costs more than its bytes.
inline constexpr int kMapsALaunch = 16, kGroupsAThread = 4;

template <typename Body>
struct Maps {
    Body of[kMapsALaunch];
    int64_t n[kMapsALaunch];
    unsigned end[kMapsALaunch];  // of an array's blocks
};

template <int width, typename Body>
__global__ void __launch_bounds__(kMapThreads) map_several_kernel(const __grid_constant__ Maps<Body> maps) {
    begin_dependent();
    int at = 0;
    while (blockIdx.x >= maps.end[at]) ++at;
    const int64_t block = blockIdx.x - (at > 0 ? maps.end[at - 1] : 0), n = maps.n[at], n_groups = n / width;
    const Body body = maps.of[at];
#pragma unroll
    for (int i = 0; i < kGroupsAThread; ++i) {
        const int64_t group = (block * kGroupsAThread + i) * kMapThreads + threadIdx.x;
        if (group < n_groups) body.template run<width>(group * width);
        else if (const int64_t rest = group - n_groups; width > 1 && rest < n % width)
            body.template run<1>(n_groups * width + rest);
    }
}

// f(i) is the body of array i, of n(i) elements.
template <typename Size, typename F>
void map_several(const CudaContext& ctx, size_t n_arrays, const Size& n, const F& f) {
    using Body = decltype(f(size_t{}));
    for (size_t first = 0; first < n_arrays; first += kMapsALaunch) {
        const size_t last = first + kMapsALaunch < n_arrays ? first + kMapsALaunch : n_arrays;
        bool wide = true;
        for (size_t i = first; i < last; ++i) wide = wide && f(i).wide();
        const int64_t width = wide ? Body::kWidth : 1;
        Maps<Body> maps{};
        int64_t blocks = 0;
        for (size_t i = first; i < last; ++i) {
            blocks += ceil_div(n(i) / width + n(i) % width, int64_t{kMapThreads} * kGroupsAThread);
            maps.of[i - first] = f(i);
            maps.n[i - first] = n(i);
            maps.end[i - first] = static_cast<unsigned>(blocks);
        }
        const auto kernel = wide ? map_several_kernel<Body::kWidth, Body> : map_several_kernel<1, Body>;
        launch_dependent(ctx, kernel, static_cast<unsigned>(blocks), kMapThreads, 0, maps);
    }
}

// y[i] = op(x[i])
template <typename Op, typename Y, typename X>
struct Unary {
    static constexpr int kWidth = kWidthOf<Y, X>;
    Y* y;
    const X* x;
    Op op;

    bool wide() const { return aligned(y, kWidth * int64_t{sizeof(Y)}) && aligned(x, kWidth * int64_t{sizeof(X)}); }
    template <int N>
    __device__ void run(int64_t i) const {
        float v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = op(v[j]);
        store<N>(y + i, v);
    }
};

// y[i] = op(a[i], b[i]); y may be a or b.
template <typename Op, typename Y, typename A, typename B>
struct Binary {
    static constexpr int kWidth = kWidthOf<Y, A, B>;
    Y* y;
    const A* a;
    const B* b;
    Op op;

    bool wide() const {
        return aligned(y, kWidth * int64_t{sizeof(Y)}) && aligned(a, kWidth * int64_t{sizeof(A)}) &&
               aligned(b, kWidth * int64_t{sizeof(B)});
    }
    template <int N>
    __device__ void run(int64_t i) const {
        float v[N], w[N];
        load<N>(a + i, v);
        load<N>(b + i, w);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = op(v[j], w[j]);
        store<N>(y + i, v);
    }
};

// The call y = op(x) or y = op(a, b) of contiguous views of one dtype.
template <typename Op>
void map_unary(const CudaContext& ctx, const View& y, const View& x, const Op& op) {
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        map(ctx, y.n_elems(), Unary<Op, T, T>{y.as<T>(), x.as<T>(), op});
    });
}

template <typename Op>
void map_binary(const CudaContext& ctx, const View& y, const View& a, const View& b, const Op& op) {
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        map(ctx, y.n_elems(), Binary<Op, T, T, T>{y.as<T>(), a.as<T>(), b.as<T>(), op});
    });
}

}  // namespace ggq::cuda
