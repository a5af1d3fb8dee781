// y[m,n] = x[m,k] w[n,k]^T for up to 64 rows of f16 or bf16 and a 4-bit weight, which is decoded on its way to the
// tensor cores (code_pairs.cuh) and streamed once, where a copy in f16 would be written and read again.
//
// A block takes 128 rows of w and a part of k: its 8 warps have 16 rows each and all rows of x, which pass through
// shared memory in steps of 128 k, two steps ahead of their use; codes and scales are a step ahead in registers. The
// parts of k, which keep all multiprocessors busy, are added in order by another kernel.
// Floor: the bytes of w.
#include "kernels/cuda/code_pairs.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kStep = static_cast<int>(kSomeStep), kUnits = kStep / kUnit, kStages = 3;
constexpr int kPieces = kStep / 8;  // of 16 bytes in a row of a step of x
constexpr int kMapBytes = 256 * 4;
static_assert(kSomeCols == kWarps * 16 && kUnits == 2);

struct Args {
    const void* x;
    int64_t x_stride;
    int m, k, chunk;  // chunk: the k of a part, a multiple of kStep
    int64_t n;
    QuantParts w;
    DType format;
    int shift;       // log2 of the weights a scale
    float* partial;  // [parts,m,n]
};

// What a lane loads of a step: codes of rows g and g + 8 in both units, and one of these four scales: row t / 2, unit
// t % 2.
struct Codes {
    uint2 of[kUnits][2];
    RawScale scale;
};

struct Lane {
    int lane, g, t;
    int64_t rows[2];  // where rows g and g + 8 of w begin; beyond the last row: the last
    int k_begin, k_end;

    __device__ explicit Lane(const Args& p)
        : lane(static_cast<int>(threadIdx.x) % kWarp),
          g(lane / 4),
          t(lane % 4),
          k_begin(static_cast<int>(blockIdx.y) * p.chunk),
          k_end(k_begin + p.chunk < p.k ? k_begin + p.chunk : p.k) {
        for (int r = 0; r < 2; ++r) {
            const int64_t row = first_row() + fragment_row(r);
            rows[r] = (row < p.n ? row : p.n - 1) * p.k;
        }
    }
    __device__ int64_t first_row() const { return blockIdx.x * kSomeCols + threadIdx.x / kWarp * 16; }
};

__device__ __forceinline__ void load_codes(const Args& p, const Lane& at, int first_k, Codes& codes) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const auto* from = reinterpret_cast<const uint2*>(p.w.codes + (at.rows[r] + first_k) / 2) + at.t;
#pragma unroll
        for (int u = 0; u < kUnits; ++u)
            codes.of[u][r] = first_k + u * kUnit < at.k_end ? load_streamed(from + u * 4) : uint2{0, 0};
    }
    const int k = first_k + at.t % 2 * kUnit;
    codes.scale = k < at.k_end ? raw_scale(p.w, ((at.t < 2 ? at.rows[0] : at.rows[1]) + k) >> p.shift) : RawScale{};
}

// Where piece `piece` of a row of x stands in its step: rows side by side use other banks.
__device__ __forceinline__ int place_of_piece(int row, int piece) { return row * kPieces + (piece ^ (row & 1)); }

// Rows beyond m and k beyond the part become zero. A thread has the same piece of every kRows-th row.
template <typename T, int n_tiles>
__device__ __forceinline__ void copy_x(const Args& p, const Lane& at, int first_k, uint4* to) {
    constexpr int kRows = kThreads / kPieces;
    static_assert(kRows % 2 == 0);
    const int row = static_cast<int>(threadIdx.x) / kPieces, piece = static_cast<int>(threadIdx.x) % kPieces;
    const int k = first_k + piece * 8;
    const auto* x = static_cast<const T*>(p.x) + k;
    uint4* place = to + place_of_piece(row, piece);
#pragma unroll
    for (int r = 0; r < n_tiles * 8; r += kRows) {
        const bool inside = row + r < p.m && k < at.k_end;
        copy_async(place + r * kPieces, inside ? x + (row + r) * p.x_stride : p.x, inside);
    }
}

template <typename T, int n_tiles>
__device__ __forceinline__ void multiply_step(const Args& p, const Lane& at, const Codes& codes, const uint32_t* table,
                                              const float* map, float offset, const uint4* x,
                                              float (&sums)[n_tiles][4]) {
    const float scale = restored(p.w, codes.scale, map, offset);
    const auto lane_bytes = static_cast<uint32_t>(4 * at.lane);
#pragma unroll(n_tiles < 4 ? kUnits : 1)  // else registers are too few for both units at once
    for (int u = 0; u < kUnits; ++u) {
        const float scale0 = __shfl_sync(0xffffffffu, scale, (at.lane & ~3) | u);
        const float scale1 = __shfl_sync(0xffffffffu, scale, (at.lane & ~3) | 2 | u);
        uint32_t a[4][4];
        const uint2 of_unit[2] = {u == 0 ? codes.of[0][0] : codes.of[1][0], u == 0 ? codes.of[0][1] : codes.of[1][1]};
        unit_fragments(table, lane_bytes, of_unit, a);
#pragma unroll
        for (int j = 0; j < n_tiles; ++j) {
            const uint4* row = x + j * 8 * kPieces;
            const int piece = u * 8 + 2 * at.t;
            const uint4 of_x[2] = {row[place_of_piece(at.g, piece)], row[place_of_piece(at.g, piece + 1)]};
            float c[4];
            multiply_unit<T>(c, a, of_x);
            sums[j][0] += scale0 * c[0];
            sums[j][1] += scale0 * c[1];
            sums[j][2] += scale1 * c[2];
            sums[j][3] += scale1 * c[3];
        }
    }
}

// Grid: (128 rows of w; parts of k). n_tiles is m / 8 rounded up to 2, 4 or 8.
template <typename T, int n_tiles>
__global__ void __launch_bounds__(kThreads, 2) some_rows_kernel(const __grid_constant__ Args p) {
    unsigned char* shared = dynamic_shared();
    auto* table = reinterpret_cast<uint32_t*>(shared);
    auto* map = reinterpret_cast<float*>(shared + kPairTableBytes);
    auto* x = reinterpret_cast<uint4*>(shared + kPairTableBytes + kMapBytes);
    constexpr int kStage = n_tiles * 8 * kPieces;

    const Lane at(p);
    const int n_steps = ceil_div(at.k_end - at.k_begin, kStep);
    Codes now, next;
    load_codes(p, at, at.k_begin, now);
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
        copy_x<T, n_tiles>(p, at, at.k_begin + s * kStep, x + s * kStage);
        commit_copies();
    }
    const float offset = scale_offset(p.w);
    fill_pair_table<T>(table, p.format);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kThreads) map[i] = kDeviceSignedMap.of[i];

    float sums[n_tiles][4] = {};
#pragma unroll 1
    for (int s = 0; s < n_steps; ++s) {
        const int first_k = at.k_begin + s * kStep;
        if (s + 1 < n_steps) load_codes(p, at, first_k + kStep, next);
        wait_copies<kStages - 2>();
        __syncthreads();  // step s is there for all, and all are done with step s - 1, whose place is taken now
        copy_x<T, n_tiles>(p, at, first_k + (kStages - 1) * kStep, x + (s + kStages - 1) % kStages * kStage);
        commit_copies();
        multiply_step<T, n_tiles>(p, at, now, table, map, offset, x + s % kStages * kStage, sums);
        now = next;
    }
    wait_copies<0>();
    float* partial = p.partial + blockIdx.y * p.m * p.n;
#pragma unroll
    for (int j = 0; j < n_tiles; ++j)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const int64_t i = fragment_col(j, c % 2), col = at.first_row() + fragment_row(c / 2);
            if (i < p.m && col < p.n) partial[i * p.n + col] = sums[j][c];
        }
}

template <typename T, int n_tiles>
void run(const CudaContext& ctx, const Args& p, int64_t parts) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.n, kSomeCols)), static_cast<unsigned>(parts));
    constexpr size_t shared = kPairTableBytes + kMapBytes + kStages * n_tiles * 8 * kStep * 2;
    GGQ_ASSERT(static_cast<int64_t>(shared) == some_rows_shared(p.m));
    launch(ctx, some_rows_kernel<T, n_tiles>, grid, kThreads, shared, p);
}

template <typename T>
void run(const CudaContext& ctx, const Args& p, int64_t parts) {
    if (p.m <= 16) run<T, 2>(ctx, p, parts);
    else if (p.m <= 32) run<T, 4>(ctx, p, parts);
    else run<T, 8>(ctx, p, parts);
}

}  // namespace

void some_rows(const CudaContext& ctx, const Product& p, Scratch scratch) {
    const int64_t chunk = some_rows_chunk(p.m, p.n, p.k, *ctx.device), parts = ceil_div(p.k, chunk);
    const Args args{.x = p.x.data,
                    .x_stride = p.x.row_stride,
                    .m = static_cast<int>(p.m),
                    .k = static_cast<int>(p.k),
                    .chunk = static_cast<int>(chunk),
                    .n = p.n,
                    .w = p.w.quant,
                    .format = p.w.dtype,
                    .shift = block_shift(p.w.quant),
                    .partial = static_cast<float*>(scratch.take(parts * p.m * p.n * 4))};
    p.real == DType::f16 ? run<f16>(ctx, args, parts) : run<bf16>(ctx, args, parts);
    sum_partials(ctx, args.partial, static_cast<int>(parts), p.m, p.n, p.y);
}

}  // namespace ggq::cuda
