// What the kernels of attention share: rows of heads, the keys that a block of queries sees, and tiles of 16-bit
// elements for the tensor cores.
#pragma once

#include <climits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

inline constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;
inline constexpr float kSlack = 8;  // by which scores exceed a row's maximum before the tensor-core forms raise it

// The rows of x[n, heads, D]; strides in elements.
template <typename T>
struct HeadRows {
    T* data;
    int64_t token, head;

    __device__ __forceinline__ T* row(int64_t t, int64_t h) const { return data + t * token + h * head; }
};

template <typename T>
HeadRows<T> head_rows(const View& x) {
    return {x.as<T>(), x.strides[0], x.strides[1]};
}

// Whether rows of n elements each begin at multiples of 16 bytes.
inline bool rows_are_wide(const View& x) {
    const int64_t wide = 16 / info(x.dtype).bytes;
    const auto whole = [&](int axis) { return x.shape[axis] == 1 || x.strides[axis] % wide == 0; };
    return x.shape[2] % wide == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && whole(0) && whole(1);
}

// The keys begin <= s < end that a query sees; spans[T,2].
struct Span {
    int begin, end;
    __device__ __forceinline__ bool has(int key) const { return begin <= key && key < end; }
};

__device__ __forceinline__ Span span_of(const int* spans, int query) {
    return {spans[2 * static_cast<int64_t>(query)], spans[2 * static_cast<int64_t>(query) + 1]};
}

// The keys that any of several queries sees, and those that every one of them sees.
struct alignas(16) KeyRange {
    int any_begin, any_end, all_begin, all_end;

    __device__ __forceinline__ bool meets(int begin, int end) const { return any_begin < end && begin < any_end; }
    __device__ __forceinline__ bool all_see(int begin, int end) const { return all_begin <= begin && end <= all_end; }
};

// Of the queries [first, first + n), those beyond the last being as the last. All lanes of a warp call it.
template <int n>
__device__ __forceinline__ KeyRange range_of_queries(const int* spans, int first, int n_queries) {
    KeyRange range{INT_MAX, 0, 0, INT_MAX};
#pragma unroll
    for (int i = 0; i < ceil_div(n, kWarp); ++i) {
        const int query = first + (threadIdx.x % kWarp + i * kWarp) % n;
        const Span span = span_of(spans, query < n_queries ? query : n_queries - 1);
        range = {min(range.any_begin, span.begin), max(range.any_end, span.end), max(range.all_begin, span.begin),
                 min(range.all_end, span.end)};
    }
    return {-warp_reduce<Max>(-range.any_begin), warp_reduce<Max>(range.any_end), warp_reduce<Max>(range.all_begin),
            -warp_reduce<Max>(-range.all_end)};
}

// What the gradient knows of a query and head: p = exp(score - lse), ds = p (dp - delta). The tensor-core form has lse
// in units of log 2. A query that only fills up a tile has lse = infinity and an empty span, so that its p is 0.
struct alignas(16) QueryFacts {
    float lse, delta;
    Span span;
};

// A tile of queries that sees some of the keys of a block, `masked` if not each query sees all of them.
struct QueryTile {
    int tile;
    bool masked;
};

// The first one from `tile` on; number n_tiles if there is none. All lanes of a warp ask together.
__device__ __forceinline__ QueryTile next_tile(const KeyRange* ranges, int tile, int n_tiles, int begin, int end) {
    for (; tile < n_tiles; tile += kWarp) {
        const int lane = threadIdx.x % kWarp;
        const int4 bits = __ldg(reinterpret_cast<const int4*>(ranges) + min(tile + lane, n_tiles - 1));
        const KeyRange range{bits.x, bits.y, bits.z, bits.w};
        const unsigned meets = __ballot_sync(0xffffffffu, range.meets(begin, end) && tile + lane < n_tiles);
        const unsigned all_see = __ballot_sync(0xffffffffu, range.all_see(begin, end));
        if (meets == 0) continue;
        const int first = __ffs(static_cast<int>(meets)) - 1;
        return {tile + first, (all_see >> first & 1) == 0};
    }
    return {n_tiles, false};
}

// The same of a tile of queries, each fact for itself: Hopper's form reads pairs of columns.
struct alignas(16) TileFacts {
    float lse[64], delta[64];
    Span span[64];
};

// ---- tiles: rows of kHead 16-bit elements in shared memory, aligned to 1024 bytes. The 16-byte piece i of row r lies
// at place i ^ (r % 8) of its row: eight rows of one piece, which a matrix load reads at a time, are in different
// banks.

template <int kHead>
__device__ __forceinline__ int tile_offset(int row, int piece) {
    return row * kHead + (piece ^ (row & 7)) * 8;
}

// Rows [first, first + kRows) of a head, zeros from row `end` and from piece `n_pieces` on; completes with the copies.
template <int kRows, int kHead, int kThreads, typename T>
__device__ __forceinline__ void load_tile(T* tile, const HeadRows<const T>& x, int head, int first, int end,
                                          int n_pieces) {
    constexpr int kPieces = kHead / 8, kStep = kThreads / kPieces;
    static_assert(kRows % kStep == 0);
    const int piece = threadIdx.x % kPieces, row = threadIdx.x / kPieces;
    const T* from = x.row(first + row, head) + piece * 8;
    const int64_t step = kStep * x.token;
    const int n_rows = piece < n_pieces ? end - first - row : 0;  // of those below, one in kStep
#pragma unroll
    for (int i = 0; i < kRows / kStep; ++i)
        copy_async(tile + tile_offset<kHead>(row + i * kStep, piece), from + i * step, i * kStep < n_rows);
}

// Address of what a lane reads of a tile for the left operand of a product, and for a right operand that stands in the
// tile row by row of its depth (columns). Steps along a row are XORed, as the swizzle leaves no carries.
template <int kHead>
__device__ __forceinline__ uint32_t left_address(const void* tile, int row) {
    const int lane = threadIdx.x % kWarp;
    return shared_address(tile) +
           static_cast<uint32_t>((row + (lane & 15)) * kHead * 2 + (((lane >> 4) ^ (lane & 7)) << 4));
}

// The same for a right operand whose columns are the rows of the tile.
template <int kHead>
__device__ __forceinline__ uint32_t right_address(const void* tile) {
    const int lane = threadIdx.x % kWarp;
    return shared_address(tile) + static_cast<uint32_t>(((lane & 7) + ((lane >> 4) << 3)) * kHead * 2 +
                                                        ((((lane >> 3) & 1) ^ (lane & 7)) << 4));
}

// c[i] += a[i] b^T for row tiles i of 16, where a is [16,16] and b columns [16 step, 16 step + 16) of a tile of kCols
// rows at right_address.
template <typename T, int kTiles, int kCols, int kHead>
__device__ __forceinline__ void multiply_by_rows(float (&c)[kTiles][kCols / 8][4], const uint32_t (&a)[kTiles][4],
                                                 uint32_t tile, int step) {
#pragma unroll
    for (int block = 0; block < kCols / 16; ++block) {
        uint32_t b[4];
        load_matrices(b, (tile ^ (step * 32)) + block * 16 * kHead * 2);
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            multiply_add<T>(c[i][2 * block], a[i], b[0], b[1]);
            multiply_add<T>(c[i][2 * block + 1], a[i], b[2], b[3]);
        }
    }
}

// c[i] += a[i] b, where b is rows [16 step, 16 step + 16) of a tile at left_address(tile, 0).
template <typename T, int kTiles, int kHead>
__device__ __forceinline__ void multiply_by_columns(float (&c)[kTiles][kHead / 8][4], const uint32_t (&a)[kTiles][4],
                                                    uint32_t tile, int step) {
#pragma unroll
    for (int block = 0; block < kHead / 16; ++block) {
        uint32_t b[4];
        load_transposed(b, (tile ^ (block * 32)) + step * 16 * kHead * 2);
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            multiply_add<T>(c[i][2 * block], a[i], b[0], b[1]);
            multiply_add<T>(c[i][2 * block + 1], a[i], b[2], b[3]);
        }
    }
}

// Columns [16 step, 16 step + 16) of a result as the left operand of the next product.
template <typename T, int n>
__device__ __forceinline__ void left_operand(uint32_t (&a)[4], const float (&c)[n][4], int step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        a[2 * half] = pack_pair<T>(c[2 * step + half][0], c[2 * step + half][1]);
        a[2 * half + 1] = pack_pair<T>(c[2 * step + half][2], c[2 * step + half][3]);
    }
}

// Writes rows [row, row + 16) of a tile: factor[0] times rows 0..7 of a result, factor[1] times rows 8..15.
template <typename T, int kHead>
__device__ __forceinline__ void result_to_tile(T* tile, int row, const float (&c)[kHead / 8][4],
                                               const float (&factor)[2]) {
#pragma unroll
    for (int n = 0; n < kHead / 8; ++n)
#pragma unroll
        for (int r = 0; r < 2; ++r)
            *reinterpret_cast<uint32_t*>(tile + tile_offset<kHead>(row + fragment_row(r), n) + fragment_col(0, 0)) =
                pack_pair<T>(c[n][2 * r] * factor[r], c[n][2 * r + 1] * factor[r]);
}

// Rows [row, row + kRows) of a tile, which this warp has written, to rows first + row, ... of y; rows from `end` on do
// not exist.
template <int kRows, int kHead, typename T>
__device__ __forceinline__ void store_rows(const HeadRows<T>& y, int head, int first, int end, int n_pieces,
                                           const T* tile, int row) {
    constexpr int kPieces = kHead / 8;
    __syncwarp();
    for (int i = threadIdx.x % kWarp; i < kRows * kPieces; i += kWarp) {
        const int r = row + i / kPieces, piece = i % kPieces;
        if (first + r < end && piece < n_pieces)
            *reinterpret_cast<uint4*>(y.row(first + r, head) + piece * 8) =
                *reinterpret_cast<const uint4*>(tile + tile_offset<kHead>(r, piece));
    }
}

}  // namespace ggq::cuda
