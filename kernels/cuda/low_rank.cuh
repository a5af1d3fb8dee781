// Parts that the low-rank kernels share: masks of several sites over the same elements, a queue of what a lane has
// asked for, the narrow factor in shared memory, and the choice of an instance.
#pragma once

#include "kernels/cuda/dropout_mask.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/low_rank.h"
#include "kernels/cuda/ptx.cuh"

namespace ggq::cuda {

// ---- masks ---------------------------------------------------------------------------------------------------------

struct WideProduct {
    uint32_t low, high;
    __device__ __forceinline__ WideProduct(uint32_t a, uint32_t b) {
        const uint64_t p = uint64_t{a} * b;
        low = static_cast<uint32_t>(p);
        high = static_cast<uint32_t>(p >> 32);
    }
};

// A value that all lanes share, said in a way that lets the compiler keep it in one register of the warp.
__device__ __forceinline__ uint32_t of_warp(uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffffu, value);
#else
    return value;
#endif
}

// The bits of DropoutMask at n sites beside each other. Sites differ in one word of the counter, which reaches the
// others in the second round only: what a position alone decides is computed once for all sites, and what a site alone
// decides once for all positions, as the upper words of all positions are the same.
template <int n>
struct SiteMasks {
    uint32_t key0[10], key1[10];
    uint32_t counter, first;
    uint32_t site0[n], site2[n], site3[n];  // what a site adds to words 0, 2 and 3 in the second round
    uint32_t threshold;

    // From the site number `from` of the scale's on.
    __device__ __forceinline__ SiteMasks(const int64_t* rng, const DropoutScale& scale, uint32_t from = 0)
        : counter(static_cast<uint32_t>(rng[1])),
          first(static_cast<uint32_t>(scale.first_group)),
          threshold(scale.threshold) {
        const uint32_t low = of_warp(static_cast<uint32_t>(rng[0]));
        const uint32_t high = of_warp(static_cast<uint32_t>(rng[0] >> 32));
#pragma unroll
        for (int r = 0; r < 10; ++r) {
            key0[r] = low + kPhiloxKeyStep0 * static_cast<uint32_t>(r);
            key1[r] = high + kPhiloxKeyStep1 * static_cast<uint32_t>(r);
        }
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const WideProduct p1(kPhiloxMultiplier1, scale.site + from + static_cast<uint32_t>(i));
            const WideProduct p0(kPhiloxMultiplier0,
                                 p1.high ^ static_cast<uint32_t>(scale.first_group >> 32) ^ key0[0]);
            site0[i] = p1.low ^ key0[1];
            site2[i] = p0.high ^ key1[1];
            site3[i] = p0.low;
        }
    }

    struct Start {
        uint32_t word0, word1, word2;
    };
    // What all sites share at a group, counted from that of element 0.
    __device__ __forceinline__ Start start(uint32_t group) const {
        const WideProduct p0(kPhiloxMultiplier0, first + group);
        const WideProduct p1(kPhiloxMultiplier1, p0.high ^ counter ^ key1[0]);
        return {p1.high, p1.low, p0.low};
    }

    __device__ __forceinline__ Philox4 bits(const Start& s, int i) const {
        uint32_t c0 = s.word0 ^ site0[i], c1 = s.word1, c2 = s.word2 ^ site2[i], c3 = site3[i];
#pragma unroll
        for (int r = 2; r < 10; ++r) {
            const WideProduct p0(kPhiloxMultiplier0, c0), p1(kPhiloxMultiplier1, c2);
            c0 = p1.high ^ c1 ^ key0[r];
            c1 = p1.low;
            c2 = p0.high ^ c3 ^ key1[r];
            c3 = p0.low;
        }
        return {{c0, c1, c2, c3}};
    }

    // All ones in each half of `word` that is at least the threshold, else zeros: it is as an f16 (a NaN too, which
    // compares as wanted), or its first bit is set. The threshold is below f16's infinity.
    __device__ __forceinline__ uint32_t kept_halves(uint32_t word) const {
        uint32_t reaches, negative;
        asm("set.geu.u32.f16x2 %0, %1, %2;" : "=r"(reaches) : "r"(word), "r"(threshold * 0x10001u));
        asm("prmt.b32 %0, %1, 0, 0xbb99;" : "=r"(negative) : "r"(word));  // the signs of bytes 1 and 3
        return reaches | negative;
    }

    // x[8] of 16 bits each of a group, what site i drops being 0.
    __device__ __forceinline__ uint4 masked(const uint4& x, const Start& s, int i) const {
        const Philox4 r = bits(s, i);
        return {x.x & kept_halves(r.word[0]), x.y & kept_halves(r.word[1]), x.z & kept_halves(r.word[2]),
                x.w & kept_halves(r.word[3])};
    }

    // The same of single elements: half h of a word that bits() gave.
    __device__ __forceinline__ bool keeps(uint32_t word, int h) const {
        return (h == 0 ? word << 16 : word) > (threshold << 16) - 1;
    }
};

// No mask.
template <>
struct SiteMasks<0> {
    struct Start {};
    __device__ __forceinline__ SiteMasks(const int64_t*, const DropoutScale&, uint32_t = 0) {}
    __device__ __forceinline__ Start start(uint32_t) const { return {}; }
};

// ---- copies --------------------------------------------------------------------------------------------------------

// Stages of a queue that fit `budget` bytes of shared memory beside what else a block keeps, at most `most`.
constexpr int stages_within(int64_t budget, int64_t stage_bytes, int64_t other_bytes, int most) {
    const int64_t fit = (budget - other_bytes) / stage_bytes;
    return static_cast<int>(fit < most ? fit : most);
}

// What a block may take where a multiprocessor is to hold `blocks` of them: of 228 KiB, and at most what every card
// from 8.0 on has for one.
constexpr int64_t shared_budget(int blocks) {
    const int64_t share = (int64_t{226} << 10) / blocks - 1024;
    return share < (96 << 10) ? share : (96 << 10);
}

// 16 rows of 64 columns (128 bytes) in shared memory of a warp. Lanes copy pieces of 16 bytes along the rows, so that 8
// of them ask for a whole line; what lane (g = lane / 4, t = lane % 4) works on is piece g of the rows that it has in a
// fragment. Pieces stand where neither way has two lanes in the same banks.
struct WarpTile {
    static constexpr int kPieces = 16 * 8, kAccesses = 4;  // of a lane, either way

    int lane, first_copied[2], first_own;  // places; those of one parity of i lie at steps that are known

    __device__ __forceinline__ WarpTile()
        : lane(static_cast<int>(threadIdx.x) % kWarp),
          first_copied{place(lane / 8, lane % 8), place(lane / 8 + 4, lane % 8)},
          first_own(place(lane % 4 * 2, lane / 4)) {}
    __device__ __forceinline__ static int place(int row, int piece) { return row * 8 + (piece ^ row / 2 % 4 * 2); }

    __device__ __forceinline__ int copied_row(int i) const { return 4 * i + lane / 8; }
    __device__ __forceinline__ int copied_piece() const { return lane % 8; }
    __device__ __forceinline__ int copied(int i) const { return first_copied[i % 2] + i / 2 * 64; }

    // Rows 2 t, 2 t + 1, 2 t + 8, 2 t + 9.
    __device__ __forceinline__ int row(int i) const { return i / 2 * 8 + lane % 4 * 2 + i % 2; }
    __device__ __forceinline__ int piece() const { return lane / 4; }
    __device__ __forceinline__ int own(int i) const { return first_own + (i / 2 * 8 + i % 2) * 8; }
};

// Halves `half` of two words side by side.
__device__ __forceinline__ uint32_t pair_of(uint32_t first, uint32_t second, int half) {
    return __byte_perm(first, second, half == 0 ? 0x5410 : 0x7632);
}

__device__ __forceinline__ uint16_t half_of(uint32_t word, int half) {
    return static_cast<uint16_t>(half == 0 ? word : word >> 16);
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
    return i < 2 ? (i == 0 ? v.x : v.y) : (i == 2 ? v.z : v.w);
}

// Two matrices of 8 by 8 as load_matrices() reads four; the addresses of lanes 16 and up do not matter.
__device__ __forceinline__ void load_two_matrices(uint32_t (&r)[2], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
}

// ---- the narrow factor u[m,rank] -----------------------------------------------------------------------------------

// A tile of `rows` rows, padded to `rank` columns, as T: [rank / 8][rows] pieces of 16 bytes, so that the rows of a
// matrix of 8 by 8 lie side by side. With halves a second tile follows, of what rounding has left. Threads take 4
// elements at a time; `thread` is this one's number among kThreads.
template <typename T, int rank, int rows, bool halves, int kThreads>
struct NarrowTile {
    static constexpr int kQuads = rows * rank / 4 / kThreads, kPieces = rank / 8 * rows;
    static constexpr int kBytes = (halves ? 2 : 1) * kPieces * 16;
    static_assert(kQuads * kThreads * 4 == rows * rank);

    float value[kQuads][4];

    template <typename U>
    __device__ __forceinline__ void read_rows(const U* u, int64_t first, int64_t end, int width, int thread) {
#pragma unroll
        for (int q = 0; q < kQuads; ++q) {
            const int i = q * kThreads + thread;
            const int64_t row = first + i / (rank / 4);
            const int col = i % (rank / 4) * 4;
            const U* from = u + row * width + col;
            if (width % 4 == 0 && row < end && col < width) {
                load<4>(from, value[q]);
                continue;
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) value[q][e] = row < end && col + e < width ? to_float(from[e]) : 0.0f;
        }
    }

    __device__ __forceinline__ void read(const void* u, DType dtype, int64_t first, int64_t end, int width,
                                         int thread) {
        if (dtype == DType::f32) read_rows(static_cast<const float*>(u), first, end, width, thread);
        else read_rows(static_cast<const T*>(u), first, end, width, thread);
    }

    __device__ __forceinline__ void write(uint4* tile, int thread) const {
#pragma unroll
        for (int q = 0; q < kQuads; ++q) {
            const int i = q * kThreads + thread;
            const int row = i / (rank / 4), quad = i % (rank / 4);
            auto* to = reinterpret_cast<uint2*>(tile + quad / 2 * rows + row) + quad % 2;
            const float(&four)[4] = value[q];
            const uint32_t high[2] = {pack_pair<T>(four[0], four[1]), pack_pair<T>(four[2], four[3])};
            *to = {high[0], high[1]};
            if constexpr (halves) {
                float rest[4];
#pragma unroll
                for (int e = 0; e < 4; ++e) rest[e] = four[e] - to_float(T{half_of(high[e / 2], e % 2)});
                to[2 * kPieces] = {pack_pair<T>(rest[0], rest[1]), pack_pair<T>(rest[2], rest[3])};
            }
        }
    }
};

// ---- instances -----------------------------------------------------------------------------------------------------

template <typename T_, int rank_, int n_, bool masked_>
struct LowRankForm {
    using T = T_;
    static constexpr int rank = rank_, n = n_;  // padded, of modules
    static constexpr bool masked = masked_;
    static constexpr int sites = masked ? n : 0;
};

template <typename T, bool masked, typename F>
void with_low_rank_size(int rank, int n, const F& f) {
    if (rank > 32) f(LowRankForm<T, 64, 1, masked>{});
    else if (rank > 16) f(LowRankForm<T, 32, 1, masked>{});
    else if (n == 1) f(LowRankForm<T, 16, 1, masked>{});
    else if (n == 2) f(LowRankForm<T, 16, 2, masked>{});
    else f(LowRankForm<T, 16, 3, masked>{});
}

// Calls f with the LowRankForm of a call; above a rank of 16 the caller passes n = 1.
template <typename F>
void with_low_rank_form(DType real, int rank, int n, bool masked, const F& f) {
    if (real == DType::bf16 && masked) with_low_rank_size<bf16, true>(rank, n, f);
    else if (real == DType::bf16) with_low_rank_size<bf16, false>(rank, n, f);
    else if (masked) with_low_rank_size<f16, true>(rank, n, f);
    else with_low_rank_size<f16, false>(rank, n, f);
}

// What a kernel is told of a mask, first module `module`.
inline DropoutScale mask_scale(const Mask& mask, int module) {
    DropoutParams params = mask.dropout;
    params.site += static_cast<uint32_t>(module);
    return DropoutScale(params);
}

// Whether anything is dropped; what a call must hold to.
inline bool drops(const Mask& mask, int64_t n_elems) {
    const DropoutScale scale(mask.dropout);
    if (scale.threshold == 0) return false;
    const uint64_t last = scale.first_group + static_cast<uint64_t>(n_elems) / kMaskGroup;
    GGQ_ASSERT(mask.dropout.p <= kMostLowRankDropout && scale.first_group >> 32 == last >> 32);
    return true;
}

}  // namespace ggq::cuda
