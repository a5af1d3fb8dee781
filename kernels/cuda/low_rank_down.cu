// y_i[m,rank] = alpha mask_i(x) a_i^T for few columns and long sums. A block takes 16 or 64 rows, and its warps take
// steps of 32 of k in turn. What a lane reads of x are 16 bytes of each of its rows, elements 8 t .. 8 t + 7 of a step
// (t = lane % 4), which it multiplies as they lie: as the sum over k may go in any order, its words 0 and 1 stand for
// columns 2 t, 2 t + 1 and 2 t + 8, 2 t + 9 of one fragment, words 2 and 3 for those of another, and a is read in the
// same order. So a lane needs one Philox for each of its rows and sites, and its part of x passes through a queue in
// shared memory that no other lane looks into. At the end the sums of the warps are added in order, and where rows are
// few those of a cluster of blocks, which have shared out k.
// Floor: the bytes of x; a is read once for each block of rows, from L2.
#include "kernels/cuda/low_rank.cuh"
#include "kernels/cuda/product_output.cuh"

namespace ggq::cuda {

namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp, kStep = 32, kMostParts = 8;

struct Down {
    const void* x;
    const void* a[kMostModules];
    void* y[kMostModules];
    DType y_dtype;
    int64_t m, k;
    int rank;
    float alpha;
    const int64_t* rng;
    DropoutScale scale;
};

__device__ __forceinline__ void add_to(float4& sum, const float4& more) {
    sum.x += more.x, sum.y += more.y, sum.z += more.z, sum.w += more.w;
}

// `tiles` of 16 rows a block.
template <typename Form, int tiles>
struct DownPass {
    using T = typename Form::T;
    static constexpr int kColumns = Form::rank / 8;  // tiles of y, 8 columns each
    static constexpr int kOfX = 2 * tiles, kOfA = Form::n * kColumns;
    static constexpr int kStageSlots = (kOfX + kOfA) * kThreads;
    static constexpr int kBudget = tiles > 1 ? 200 << 10 : static_cast<int>(shared_budget(2));
    static constexpr int kStages = stages_within(kBudget, kStageSlots * 16, 0, 6);
    static constexpr int kSums = tiles * Form::n * kColumns;  // of a warp, each float4[32]
    static constexpr int kSharedBytes = kStages * kStageSlots * 16;
    static_assert(kStages >= 2 && (kWarps + 1) * kSums * kWarp * 16 <= kSharedBytes);

    const Down& p;
    uint4* shared;
    int64_t first_row;
    int n_rows, lane, warp, g, t;
    float sums[tiles][Form::n][kColumns][4] = {};

    __device__ __forceinline__ explicit DownPass(const Down& args)
        : p(args),
          shared(reinterpret_cast<uint4*>(dynamic_shared())),
          first_row(blockIdx.x * int64_t{16 * tiles}),
          n_rows(static_cast<int>(p.m - first_row < 16 * tiles ? p.m - first_row : 16 * tiles)),
          lane(static_cast<int>(threadIdx.x) % kWarp),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          g(lane / 4),
          t(lane % 4) {}

    __device__ __forceinline__ uint4* slot(int stage, int i) const {
        return shared + stage * kStageSlots + i * kThreads + static_cast<int>(threadIdx.x);
    }

    __device__ __forceinline__ void copy_a(int stage, int64_t k0) const {
#pragma unroll
        for (int i = 0; i < kOfA; ++i) {
            const int row = 8 * (i % kColumns) + g;
            copy_async_of_line(slot(stage, kOfX + i), static_cast<const T*>(p.a[i / kColumns]) + row * p.k + k0 + 8 * t,
                               row < p.rank);
        }
    }

    __device__ __forceinline__ void copy_step(int stage, int64_t step, int64_t n_steps) const {
        if (step < n_steps) {
            const int64_t k0 = step * kStep;
            const T* x = static_cast<const T*>(p.x) + (first_row + g) * p.k + k0 + 8 * t;
#pragma unroll
            for (int i = 0; i < kOfX; ++i) {
                copy_async_of_line(slot(stage, i), x, 8 * i + g < n_rows);
                x += 8 * p.k;
            }
            copy_a(stage, k0);
        }
        commit_copies();
    }

    __device__ __forceinline__ void multiply_tile(int tile, int module, const uint4& upper, const uint4& lower,
                                                  const uint4 (&a)[kOfA]) {
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
            const uint32_t x[4] = {word_of(upper, half), word_of(lower, half), word_of(upper, half + 1),
                                   word_of(lower, half + 1)};
#pragma unroll
            for (int c = 0; c < kColumns; ++c)
                multiply_add<T>(sums[tile][module][c], x, word_of(a[module * kColumns + c], half),
                                word_of(a[module * kColumns + c], half + 1));
        }
    }

    __device__ __forceinline__ void multiply_step(int stage, int64_t step, const SiteMasks<Form::sites>& masks) {
        uint4 a[kOfA];
#pragma unroll
        for (int i = 0; i < kOfA; ++i) a[i] = *slot(stage, kOfX + i);
        const auto width = static_cast<uint32_t>(p.k / kMaskGroup);
        const uint32_t group = static_cast<uint32_t>(first_row + g) * width + static_cast<uint32_t>(step * 4 + t);
#pragma unroll
        for (int tile = 0; tile < tiles; ++tile) {
            const uint4 upper = *slot(stage, 2 * tile), lower = *slot(stage, 2 * tile + 1);
            const auto upper_start = masks.start(group + (16 * tile) * width);
            const auto lower_start = masks.start(group + (16 * tile + 8) * width);
#pragma unroll
            for (int i = 0; i < Form::n; ++i) {
                if constexpr (Form::masked)
                    multiply_tile(tile, i, masks.masked(upper, upper_start, i), masks.masked(lower, lower_start, i), a);
                else multiply_tile(tile, i, upper, lower, a);
            }
        }
    }

    __device__ __forceinline__ void sum_up(const SiteMasks<Form::sites>& masks) {
        const int64_t n_steps = p.k / kStep, n_warps = kWarps * gridDim.y;
        const int64_t first = blockIdx.y * kWarps + warp;
        for (int s = 0; s < kStages - 1; ++s) copy_step(s, first + s * n_warps, n_steps);
        int stage = 0;
        for (int64_t step = first; step < n_steps; step += n_warps) {
            copy_step(stage == 0 ? kStages - 1 : stage - 1, step + (kStages - 1) * n_warps, n_steps);
            wait_copies<kStages - 1>();
            multiply_step(stage, step, masks);
            stage = stage == kStages - 1 ? 0 : stage + 1;
        }
        wait_copies<0>();
    }

    __device__ __forceinline__ void put(int i, int64_t row, int col, float value) const {
        if (row < p.m && col < p.rank) set_value(p.y[i], p.y_dtype, row * p.rank + col, p.alpha * value);
    }

    // Sum f of all warps, in order.
    __device__ __forceinline__ float4 sum_of(const float4* sums_of_warps, int f) const {
        float4 c = sums_of_warps[f * kWarp + lane];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) add_to(c, sums_of_warps[(w * kSums + f) * kWarp + lane]);
        return c;
    }

    __device__ __forceinline__ void write_sum(int f, const float4& c) const {
        const int tile = f / (Form::n * kColumns), i = f / kColumns % Form::n, col = f % kColumns * 8 + 2 * t;
        const int64_t row = first_row + 16 * tile + g;
        put(i, row, col, c.x);
        put(i, row, col + 1, c.y);
        put(i, row + 8, col, c.z);
        put(i, row + 8, col + 1, c.w);
    }

    // The sums of all warps through shared memory, then those of the blocks of a cluster, which share them out.
    __device__ __forceinline__ void write() {
        auto* parts = reinterpret_cast<float4*>(shared);
        __syncthreads();  // the queues are over
#pragma unroll
        for (int f = 0; f < kSums; ++f) {
            const float(&c)[4] = sums[f / (Form::n * kColumns)][f / kColumns % Form::n][f % kColumns];
            parts[(warp * kSums + f) * kWarp + lane] = {c[0], c[1], c[2], c[3]};
        }
        __syncthreads();
        if (gridDim.y == 1) {
            for (int f = warp; f < kSums; f += kWarps) write_sum(f, sum_of(parts, f));
            return;
        }
        float4* of_block = parts + kWarps * kSums * kWarp;
        for (int f = warp; f < kSums; f += kWarps) of_block[f * kWarp + lane] = sum_of(parts, f);
        cluster_barrier();
        for (int f = static_cast<int>(blockIdx.y) + warp * static_cast<int>(gridDim.y); f < kSums;
             f += kWarps * static_cast<int>(gridDim.y)) {
            float4 c = load_of_block(of_block + f * kWarp + lane, 0);
            for (unsigned b = 1; b < gridDim.y; ++b) add_to(c, load_of_block(of_block + f * kWarp + lane, b));
            write_sum(f, c);
        }
        cluster_barrier();  // a block stays until its sums have been read
    }
};

template <typename Form, int tiles>
__global__ void __launch_bounds__(kThreads, tiles > 1 ? 1 : 2) down_kernel(const __grid_constant__ Down p) {
    const SiteMasks<Form::sites> masks(p.rng, p.scale);
    DownPass<Form, tiles> pass(p);
    pass.sum_up(masks);
    pass.write();
}

// Parts of k, a block of a cluster each, that fill the card: a power of 2, each of 4 steps a warp or more.
int parts_of(const CudaContext& ctx, int64_t row_blocks, int64_t n_steps, int64_t wanted_blocks) {
    int parts = 1;
    if (ctx.device->capability < 90) return parts;
    while (parts < kMostParts && 2 * parts * row_blocks <= wanted_blocks && 2 * parts * 4 * kWarps <= n_steps)
        parts *= 2;
    return parts;
}

template <typename Form, int tiles>
void run(const CudaContext& ctx, const Down& p) {
    using Pass = DownPass<Form, tiles>;
    const int64_t row_blocks = ceil_div(p.m, 16 * tiles);
    const int parts = parts_of(ctx, row_blocks, p.k / kStep, ctx.device->n_sms * (tiles > 1 ? 1 : 2));
    const dim3 grid(static_cast<unsigned>(row_blocks), static_cast<unsigned>(parts));
    launch_clusters(ctx, down_kernel<Form, tiles>, grid, dim3(1, grid.y), kThreads, Pass::kSharedBytes, p);
}

// The more rows a block has, the less a is read; but where rows are few, blocks would be too.
template <typename Form>
void run_rows(const CudaContext& ctx, const Down& p) {
    const int64_t most_parts = ctx.device->capability < 90 ? 1 : kMostParts;
    const bool fills = 4 * most_parts * ceil_div(p.m, 64) >= 3 * ctx.device->n_sms;
    if (fills && DownPass<Form, 4>::kSharedBytes <= ctx.device->shared_bytes) run<Form, 4>(ctx, p);
    else run<Form, 1>(ctx, p);
}

}  // namespace

void low_rank_down(const CudaContext& ctx, const LowRankDown& p) {
    const int at_once = modules_at_once(p.rank, p.n);
    const bool masked = drops(p.mask, p.m * p.width);
    GGQ_ASSERT(p.n <= kMostModules);
    for (int first = 0; first < p.n; first += at_once) {
        Down args{.x = p.x,
                  .a = {},
                  .y = {},
                  .y_dtype = p.y_dtype,
                  .m = p.m,
                  .k = p.width,
                  .rank = p.rank,
                  .alpha = p.alpha * p.mask.kept(),
                  .rng = p.mask.rng,
                  .scale = mask_scale(p.mask, first)};
        for (int i = 0; i < at_once; ++i) args.a[i] = p.a[first + i], args.y[i] = p.y[first + i];
        with_low_rank_form(p.real, p.rank, at_once, masked, [&](auto form) { run_rows<decltype(form)>(ctx, args); });
    }
}

}  // namespace ggq::cuda
