// y[m,c] = sum[m,c] + scale (mask_1(u_1 v_1) + ...). A warp takes 32 columns and keeps its fragments of all v_i in
// registers while the rows of the block pass, 16 at a time. Columns of the fragments are chosen so that a lane ends
// with 8 columns side by side of two rows: slot s of tile j of four stands for column 8 (s / 2) + 2 j + s % 2. So a
// lane needs one access for sum, one for y and one Philox for each site and row. Pieces of sum pass through a queue in
// shared memory that no other lane looks into; u, at most 128 rows of it, is shared by the block.
// Floor: the bytes of sum and y; u is read once for every 256 columns, v once for every 128 rows, from L2.
#include "kernels/cuda/low_rank.cuh"

namespace ggq::cuda {

namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp, kWarpCols = 32, kCols = kWarps * kWarpCols, kStep = 16;
constexpr int kMostRows = 128, kTiles = kWarpCols / 8;

struct Add {
    const void* sum;
    void* y;
    const void* u[kMostModules];
    const void* v[kMostModules];
    DType u_dtype;
    int64_t m, c, v_r_stride, v_c_stride;
    int rows;  // of a block
    int rank;
    float scale_of_sum;
    const int64_t* rng;
    DropoutScale scale;
};

template <typename Form>
struct AddPass {
    using T = typename Form::T;
    using Narrow = NarrowTile<T, Form::rank, kMostRows, false>;
    static constexpr int kDepth = Form::rank / 16;  // fragments along the rank
    static constexpr int kStageSlots = 2 * kThreads, kNarrowBytes = Form::n * Narrow::kBytes;
    static constexpr int kStages = stages_within(kStageSlots * 16, kNarrowBytes, 4);
    static constexpr int kSharedBytes = kStages * kStageSlots * 16 + kNarrowBytes;
    static_assert(kStages >= 2);

    const Add& p;
    uint4 *queue, *narrow;
    int lane, warp, g, t;
    int64_t first_row, end_row, col;  // col: the first of this lane's 8
    bool has_columns;
    uint32_t v[Form::n][kDepth][kTiles][2];

    __device__ __forceinline__ explicit AddPass(const Add& args)
        : p(args),
          queue(reinterpret_cast<uint4*>(dynamic_shared())),
          narrow(queue + kStages * kStageSlots),
          lane(static_cast<int>(threadIdx.x) % kWarp),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          g(lane / 4),
          t(lane % 4),
          first_row(blockIdx.y * int64_t{args.rows}),
          end_row(first_row + args.rows < args.m ? first_row + args.rows : args.m) {
        const int64_t first_col = blockIdx.x * int64_t{kCols} + warp * kWarpCols;
        has_columns = first_col < args.c;
        col = first_col + 8 * t;
    }

    __device__ __forceinline__ uint4* slot(int stage, int half) const {
        return queue + stage * kStageSlots + half * kThreads + static_cast<int>(threadIdx.x);
    }

    __device__ __forceinline__ void copy_step(int stage, int64_t row) const {
        if (p.sum != nullptr && has_columns) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64_t at = row + 8 * half + g;
                if (at < end_row) copy_async(slot(stage, half), static_cast<const T*>(p.sum) + at * p.c + col, true);
            }
        }
        commit_copies();
    }

    __device__ __forceinline__ uint32_t v_bits(int module, int r, int64_t c) const {
        if (r >= p.rank || c >= p.c) return 0;
        return static_cast<const T*>(p.v[module])[r * p.v_r_stride + c * p.v_c_stride].bits;
    }

    __device__ __forceinline__ void read_v() {
        const int64_t base = col - 8 * t + g / 2 * 8 + g % 2;
#pragma unroll
        for (int i = 0; i < Form::n; ++i)
#pragma unroll
            for (int d = 0; d < kDepth; ++d)
#pragma unroll
                for (int j = 0; j < kTiles; ++j)
#pragma unroll
                    for (int h = 0; h < 2; ++h) {
                        const int r = 16 * d + 8 * h + 2 * t;
                        v[i][d][j][h] = v_bits(i, r, base + 2 * j) | v_bits(i, r + 1, base + 2 * j) << 16;
                    }
    }

    __device__ __forceinline__ void read_u() const {
#pragma unroll
        for (int i = 0; i < Form::n; ++i) {
            Narrow u;
            u.read(p.u[i], p.u_dtype, first_row, end_row, p.rank);
            u.write(narrow + i * Narrow::kPieces);
        }
    }

    // u_i v_i of 16 rows.
    __device__ __forceinline__ void multiply(int module, int row, float (&c)[kTiles][4]) const {
        const int matrix = lane / 8, at = row + matrix % 2 * 8 + lane % 8;
        const uint4* tile = narrow + module * Narrow::kPieces;
#pragma unroll
        for (int d = 0; d < kDepth; ++d) {
            uint32_t u[4];
            load_matrices(u, shared_address(tile + (2 * d + matrix / 2) * kMostRows + at));
#pragma unroll
            for (int j = 0; j < kTiles; ++j) multiply_add<T>(c[j], u, v[module][d][j][0], v[module][d][j][1]);
        }
    }

    // total[half][8]: the sum over all modules of this lane's columns of two rows.
    __device__ __forceinline__ void sum_modules(int row, const SiteMasks<Form::sites>& masks,
                                                float (&total)[2][8]) const {
        const auto width = static_cast<uint32_t>(p.c / kMaskGroup);
        const uint32_t group =
            static_cast<uint32_t>(first_row + row + g) * width + static_cast<uint32_t>(col / kMaskGroup);
        const typename SiteMasks<Form::sites>::Start starts[2] = {masks.start(group), masks.start(group + 8 * width)};
#pragma unroll
        for (int i = 0; i < Form::n; ++i) {
            float c[kTiles][4] = {};
            multiply(i, row, c);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                if constexpr (Form::masked) {
                    const Philox4 bits = masks.bits(starts[half], i);
#pragma unroll
                    for (int e = 0; e < 8; ++e)
                        if (masks.keeps(bits.word[e / 2], e % 2)) total[half][e] += c[e / 2][2 * half + e % 2];
                } else {
#pragma unroll
                    for (int e = 0; e < 8; ++e) total[half][e] += c[e / 2][2 * half + e % 2];
                }
            }
        }
    }

    __device__ __forceinline__ void put(int64_t row, const uint4& sum, const float (&total)[8]) const {
        const T* addend = reinterpret_cast<const T*>(&sum);
        float y[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) y[e] = fmaf(p.scale_of_sum, total[e], to_float(addend[e]));
        store<8>(static_cast<T*>(p.y) + row * p.c + col, y);
    }

    __device__ __forceinline__ void add(const SiteMasks<Form::sites>& masks) {
#pragma unroll
        for (int s = 0; s < kStages - 1; ++s) copy_step(s, first_row + s * kStep);
        read_v();
        read_u();
        __syncthreads();
        if (!has_columns) return;
        int stage = 0;
        for (int64_t row = first_row; row < end_row; row += kStep) {
            copy_step(stage == 0 ? kStages - 1 : stage - 1, row + (kStages - 1) * kStep);
            float total[2][8] = {};
            sum_modules(static_cast<int>(row - first_row), masks, total);
            wait_copies<kStages - 1>();
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64_t at = row + 8 * half + g;
                if (at < end_row) put(at, p.sum != nullptr ? *slot(stage, half) : uint4{0, 0, 0, 0}, total[half]);
            }
            stage = stage == kStages - 1 ? 0 : stage + 1;
        }
        wait_copies<0>();
    }
};

// Grid: (256 columns, rows of a block).
template <typename Form>
__global__ void __launch_bounds__(kThreads, 2) add_kernel(const __grid_constant__ Add p) {
    const SiteMasks<Form::sites> masks(p.rng, p.scale);
    AddPass<Form> pass(p);
    pass.add(masks);
}

// As many as keep v's reading small, fewer where blocks would be too few.
int rows_of_block(int64_t m, int64_t c, int n_sms) {
    int rows = kMostRows;
    while (rows > 32 && ceil_div(m, rows) * ceil_div(c, kCols) < 4 * n_sms) rows /= 2;
    return rows;
}

template <typename Form>
void run(const CudaContext& ctx, const Add& p) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.c, kCols)), static_cast<unsigned>(ceil_div(p.m, p.rows)));
    launch(ctx, add_kernel<Form>, grid, kThreads, AddPass<Form>::kSharedBytes, p);
}

}  // namespace

void low_rank_add(const CudaContext& ctx, const LowRankAdd& p) {
    const int at_once = modules_at_once(p.rank, p.n);
    const bool masked = drops(p.mask, p.m * p.c);
    GGQ_ASSERT(p.n <= kMostModules && (p.u_dtype == DType::f32 || p.u_dtype == p.real));
    for (int first = 0; first < p.n; first += at_once) {
        Add args{.sum = first == 0 ? p.sum : p.y,
                 .y = p.y,
                 .u = {},
                 .v = {},
                 .u_dtype = p.u_dtype,
                 .m = p.m,
                 .c = p.c,
                 .v_r_stride = p.v_r_stride,
                 .v_c_stride = p.v_c_stride,
                 .rows = rows_of_block(p.m, p.c, ctx.device->n_sms),
                 .rank = p.rank,
                 .scale_of_sum = p.scale * p.mask.kept(),
                 .rng = p.mask.rng,
                 .scale = mask_scale(p.mask, first)};
        for (int i = 0; i < at_once; ++i) args.u[i] = p.u[first + i], args.v[i] = p.v[first + i];
        with_low_rank_form(p.real, p.rank, at_once, masked, [&](auto form) { run<decltype(form)>(ctx, args); });
    }
}

}  // namespace ggq::cuda
