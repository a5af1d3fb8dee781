// Elementwise arithmetic on contiguous tensors of one shape, constants, copies between layouts, and the gradient of a
// slice. All are bound by memory: one pass in accesses of 16 bytes where pointers and rows allow; floor: the bytes of
// all operands. A copy of a transposed view goes through tiles in shared memory, so that both sides are read and
// written along their rows.
#include <cstring>

#include "kernels/cuda/elementwise.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

struct Add {
    __device__ float operator()(float a, float b) const { return a + b; }
};

struct Mul {
    __device__ float operator()(float a, float b) const { return a * b; }
};

struct Scale {
    float factor;
    __device__ float operator()(float x) const { return factor * x; }
};

struct ScaleBy {
    const float* factor;  // [1]
    __device__ float operator()(float x) const { return *factor * x; }
};

// y[i] = value, or factor * s[0]
template <typename E>
struct SetAll {
    static constexpr int kWidth = 16 / static_cast<int>(sizeof(E));
    E* y;
    E value;

    bool wide() const { return aligned(y, 16); }
    template <int N>
    __device__ void run(int64_t i) const {
        Pack<E, N> pack;
#pragma unroll
        for (int j = 0; j < N; ++j) pack.of[j] = value;
        *reinterpret_cast<Pack<E, N>*>(y + i) = pack;
    }
};

template <typename T>
struct Broadcast {
    static constexpr int kWidth = kWide<T>;
    T* y;
    const T* s;  // [1]
    float factor;

    bool wide() const { return aligned(y, 16); }
    template <int N>
    __device__ void run(int64_t i) const {
        float v[N];
        const float value = factor * to_float(*s);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = value;
        store<N>(y + i, v);
    }
};

// The bits of `value` as an element of `dtype`, in the low bytes.
template <typename E>
uint64_t bits_of(E element) {
    uint64_t bits = 0;
    std::memcpy(&bits, &element, sizeof(E));
    return bits;
}

uint64_t element_bits(DType dtype, double value) {
    switch (dtype) {
        case DType::f32: return bits_of(static_cast<float>(value));
        case DType::f64: return bits_of(value);
        case DType::f16: return bits_of(__float2half_rn(static_cast<float>(value)));
        case DType::bf16: return bits_of(__float2bfloat16_rn(static_cast<float>(value)));
        case DType::i32: return bits_of(static_cast<int32_t>(value));
        case DType::i64: return bits_of(static_cast<int64_t>(value));
        case DType::u8: return bits_of(static_cast<uint8_t>(value));
        case DType::i8: return bits_of(static_cast<int8_t>(value));
        default: GGQ_ASSERT(false, name(dtype));
    }
    return 0;
}

// Calls f with a value of the unsigned integer of so many bytes.
template <typename F>
void with_bytes(int bytes, const F& f) {
    switch (bytes) {
        case 1: return f(uint8_t{});
        case 2: return f(uint16_t{});
        case 4: return f(uint32_t{});
        default: return f(uint64_t{});
    }
}

void set_all(const CudaContext& ctx, const View& y, double value) {
    const uint64_t bits = element_bits(y.dtype, value);
    with_bytes(info(y.dtype).bytes, [&](auto tag) {
        using E = decltype(tag);
        map(ctx, y.n_elems(), SetAll<E>{y.as<E>(), static_cast<E>(bits)});
    });
}

// 64-bit division costs several times that of 32 bits, which nearly all tensors are small enough for.
struct Division {
    int64_t quotient, remainder;
};

__device__ __forceinline__ Division divide(int64_t a, int64_t b, bool small) {
    if (small) {
        const uint32_t q = static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
        return {int64_t{q}, a - int64_t{q} * b};
    }
    return {a / b, a % b};
}

// Four axes of x, outermost first, without axes of one element or two that lie in memory as one would.
struct Axes {
    int64_t size[4], stride[4];
};

Axes axes_of(const View& x) {
    int64_t size[4] = {}, stride[4] = {};
    int rank = 0;
    for (int axis = 0; axis < x.shape.rank; ++axis) {
        if (x.shape[axis] == 1) continue;
        if (rank > 0 && stride[rank - 1] == x.shape[axis] * x.strides[axis]) {
            size[rank - 1] *= x.shape[axis];
            stride[rank - 1] = x.strides[axis];
        } else {
            size[rank] = x.shape[axis];
            stride[rank++] = x.strides[axis];
        }
    }
    Axes axes;
    for (int axis = 0; axis < 4; ++axis) {
        const int from = axis - (4 - rank);
        axes.size[axis] = from < 0 ? 1 : size[from];
        axes.stride[axis] = from < 0 ? (axis == 3 ? 1 : 0) : stride[from];
    }
    return axes;
}

// y contiguous = x by its axes, `kWidth` neighbours at a time if the innermost stride is 1 and all rows allow it.
template <typename E>
struct Gather {
    static constexpr int kWidth = 16 / static_cast<int>(sizeof(E));
    E* y;
    const E* x;
    Axes axes;
    bool small;

    bool wide() const {
        bool yes = aligned(y, 16) && aligned(x, 16) && axes.stride[3] == 1 && axes.size[3] % kWidth == 0;
        for (int axis = 0; axis < 3; ++axis) yes = yes && axes.stride[axis] % kWidth == 0;
        return yes;
    }
    template <int N>
    __device__ void run(int64_t i) const {
        const Division inner = divide(i, axes.size[3], small);
        int64_t rest = inner.quotient, offset = inner.remainder * axes.stride[3];
#pragma unroll
        for (int axis = 2; axis >= 0; --axis) {
            if (rest == 0) break;
            const Division outer = divide(rest, axes.size[axis], small);
            offset += outer.remainder * axes.stride[axis];
            rest = outer.quotient;
        }
        *reinterpret_cast<Pack<E, N>*>(y + i) = *reinterpret_cast<const Pack<E, N>*>(x + offset);
    }
};

// y[.., a, .., l] = x where l is the innermost axis and x has stride 1 along a; a block moves one tile of a and l at
// one place of the two other axes.
struct Transposition {
    int64_t n_a, n_l, x_stride_l, y_stride_a;
    int64_t n_inner, x_stride[2], y_stride[2];  // the other axes; n_inner is the size of the second
    int64_t tiles_a, tiles_l;
};

constexpr int kTile = 64, kTileRows = 4;

template <typename E>
__global__ void __launch_bounds__(kTile* kTileRows) transpose_tiles(E* y, const E* x, Transposition t) {
    constexpr int padding = sizeof(E) < 4 ? 4 / sizeof(E) : 1;  // one word: a column of the tile meets all banks
    __shared__ E tile[kTile][kTile + padding];
    const int64_t place = blockIdx.x / (t.tiles_a * t.tiles_l), in_place = blockIdx.x % (t.tiles_a * t.tiles_l);
    const int64_t first_a = in_place / t.tiles_l * kTile, first_l = in_place % t.tiles_l * kTile;
    const int64_t outer = place / t.n_inner, inner = place % t.n_inner;
    x += outer * t.x_stride[0] + inner * t.x_stride[1];
    y += outer * t.y_stride[0] + inner * t.y_stride[1];
    const int lane = static_cast<int>(threadIdx.x) % kTile, row = static_cast<int>(threadIdx.x) / kTile;
#pragma unroll 4
    for (int r = row; r < kTile; r += kTileRows)
        if (first_l + r < t.n_l && first_a + lane < t.n_a)
            tile[r][lane] = x[(first_l + r) * t.x_stride_l + first_a + lane];
    __syncthreads();
#pragma unroll 4
    for (int r = row; r < kTile; r += kTileRows)
        if (first_a + r < t.n_a && first_l + lane < t.n_l)
            y[(first_a + r) * t.y_stride_a + first_l + lane] = tile[lane][r];
}

// The axis along which x has stride 1 while it is not the innermost, if both are long enough for tiles; else -1.
int transposed_axis(const Axes& x) {
    constexpr int64_t kLeast = 8;
    for (int axis = 0; axis < 3; ++axis)
        if (x.stride[axis] == 1 && x.stride[3] != 1 && x.size[axis] >= kLeast && x.size[3] >= kLeast) return axis;
    return -1;
}

template <typename E>
void transpose(const CudaContext& ctx, E* y, const E* x, const Axes& axes, int axis) {
    int64_t y_stride[4] = {0, 0, 0, 1};
    for (int i = 2; i >= 0; --i) y_stride[i] = y_stride[i + 1] * axes.size[i + 1];
    Transposition t{};
    t.n_a = axes.size[axis];
    t.n_l = axes.size[3];
    t.x_stride_l = axes.stride[3];
    t.y_stride_a = y_stride[axis];
    const int others[2] = {axis == 0 ? 1 : 0, axis == 2 ? 1 : 2};
    for (int i = 0; i < 2; ++i) {
        t.x_stride[i] = axes.stride[others[i]];
        t.y_stride[i] = y_stride[others[i]];
    }
    t.n_inner = axes.size[others[1]];
    t.tiles_a = ceil_div(t.n_a, kTile);
    t.tiles_l = ceil_div(t.n_l, kTile);
    const int64_t blocks = axes.size[others[0]] * t.n_inner * t.tiles_a * t.tiles_l;
    launch(ctx, transpose_tiles<E>, static_cast<unsigned>(blocks), kTile * kTileRows, 0, y, x, t);
}

// y is, over and over, `before` zeros, `kept` elements of dy, zeros up to `period`.
template <typename E>
struct SliceBackward {
    static constexpr int kWidth = 16 / static_cast<int>(sizeof(E));
    E* y;
    const E* dy;
    int64_t period, before, kept;
    bool small;

    bool wide() const {
        return aligned(y, 16) && aligned(dy, 16) && period % kWidth == 0 && before % kWidth == 0 && kept % kWidth == 0;
    }
    template <int N>
    __device__ void run(int64_t i) const {
        const Division turn = divide(i, period, small);
        const int64_t at = turn.remainder - before;
        Pack<E, N> pack = {};
        if (at >= 0 && at < kept) pack = *reinterpret_cast<const Pack<E, N>*>(dy + turn.quotient * kept + at);
        *reinterpret_cast<Pack<E, N>*>(y + i) = pack;
    }
};

bool small(int64_t n_elems) { return n_elems < int64_t{1} << 31; }

}  // namespace

void add(const CudaContext& ctx, const KernelArgs& args) {
    map_binary(ctx, args.out[0], args.in[0], args.in[1], Add{});
}

void mul(const CudaContext& ctx, const KernelArgs& args) {
    map_binary(ctx, args.out[0], args.in[0], args.in[1], Mul{});
}

void scale(const CudaContext& ctx, const KernelArgs& args) {
    map_unary(ctx, args.out[0], args.in[0], Scale{static_cast<float>(args.param<ScaleParams>().factor)});
}

void scale_by(const CudaContext& ctx, const KernelArgs& args) {
    map_unary(ctx, args.out[0], args.in[0], ScaleBy{args.in[1].as<float>()});
}

void accumulate(const CudaContext& ctx, const KernelArgs& args) {
    const size_t n = args.out.size();
    with_real(args.out[0].dtype, [&](auto tag) {
        with_real(args.in[n].dtype, [&](auto from) {
            using T = decltype(tag);
            using Body = Binary<Add, T, T, decltype(from)>;
            map_several(
                ctx, n, [&](size_t i) { return args.out[i].n_elems(); },
                [&](size_t i) {
                    T* y = args.out[i].as<T>();
                    return Body{y, y, args.in[n + i].as<decltype(from)>(), {}};
                });
        });
    });
}

void full(const CudaContext& ctx, const KernelArgs& args) { set_all(ctx, args.out[0], args.param<FullParams>().value); }

void fill(const CudaContext& ctx, const KernelArgs& args) { set_all(ctx, args.out[0], args.param<FillParams>().value); }

void broadcast(const CudaContext& ctx, const KernelArgs& args) {
    const View& y = args.out[0];
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        const float factor = static_cast<float>(args.param<BroadcastParams>().factor);
        map(ctx, y.n_elems(), Broadcast<T>{y.as<T>(), args.in[0].as<T>(), factor});
    });
}

void copy(const CudaContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    if (x.n_elems() == 0) return;
    const Axes axes = axes_of(x);
    const int axis = transposed_axis(axes);
    with_bytes(info(x.dtype).bytes, [&](auto tag) {
        using E = decltype(tag);
        E* y = args.out[0].as<E>();
        if (axis >= 0) return transpose(ctx, y, x.as<const E>(), axes, axis);
        map(ctx, x.n_elems(), Gather<E>{y, x.as<const E>(), axes, small(x.n_elems())});
    });
}

void concat_rows(const CudaContext& ctx, const KernelArgs& args) {
    auto* y = args.out[0].as<std::byte>();
    for (const View& x : args.in) {
        const int64_t n_bytes = x.n_elems() * info(x.dtype).bytes;
        GGQ_CUDA_CHECK(cudaMemcpyAsync(y, x.data, static_cast<size_t>(n_bytes), cudaMemcpyDeviceToDevice, ctx.stream));
        y += n_bytes;
    }
}

void slice_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View& y = args.out[0];
    const SliceParams& slice = args.param<SliceParams>();
    int64_t inner = 1;
    for (int axis = slice.axis + 1; axis < y.shape.rank; ++axis) inner *= y.shape[axis];
    with_bytes(info(y.dtype).bytes, [&](auto tag) {
        using E = decltype(tag);
        map(ctx, y.n_elems(),
            SliceBackward<E>{.y = y.as<E>(),
                             .dy = args.in[0].as<const E>(),
                             .period = inner * y.shape[slice.axis],
                             .before = inner * slice.begin,
                             .kept = inner * (slice.end - slice.begin),
                             .small = small(y.n_elems())});
    });
}

}  // namespace ggq::cuda
