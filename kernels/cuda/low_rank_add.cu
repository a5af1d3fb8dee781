// y[m,c] = sum[m,c] + scale (mask_1(u_1 v_1) + ...), computed as columns of products of v^T and u^T. A warp takes 64
// columns and keeps its fragments of all v_i in registers while the rows of the block pass, 16 at a time. Columns are
// put so that lane (g = lane / 4, t = lane % 4) ends with columns 8 g .. 8 g + 7 of four rows: slot s of fragment f
// stands for column 8 (s % 8) + 2 f + s / 8. So a lane needs one access for sum, one for y and one Philox for each site
// and row, and accesses of a warp are whole lines of 128 bytes. Pieces of sum pass through a queue in shared memory
// that no other lane looks into; u, at most 128 rows of it, is shared by the block. Floor: the bytes of sum and y; u is
// read once for every 256 columns, v once for every 128 rows, from L2.
#include "kernels/cuda/low_rank.cuh"

namespace ggq::cuda {

namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp, kWarpCols = 64, kCols = kWarps * kWarpCols, kStep = 16;
constexpr int kMostRows = 128, kFragments = kWarpCols / 16;

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
    using Narrow = NarrowTile<T, Form::rank, kMostRows, false, kThreads>;
    using Masks = SiteMasks<Form::sites>;
    using Start = typename Masks::Start;
    static constexpr int kDepth = Form::rank / 16;  // fragments along the rank
    static constexpr int kBlocks = Form::n * kDepth == 1 ? 5 : Form::n * kDepth == 4 ? 3 : 4;  // of a multiprocessor
    static constexpr int kStageSlots = kWarps * WarpTile::kPieces, kNarrowBytes = Form::n * Narrow::kBytes;
    static constexpr int kStages = stages_within(shared_budget(kBlocks), kStageSlots * 16, kNarrowBytes, 5);
    static constexpr int kSharedBytes = kStages * kStageSlots * 16 + kNarrowBytes;
    static_assert(kStages >= 2);

    const Add& p;
    uint4 *queue, *narrow;
    WarpTile pieces;
    int lane, warp, t;
    int64_t first_row, end_row, warp_col, col;  // of the warp's columns and of this lane's 8 the first
    int n_rows;                                 // that this lane copies: none where it has no columns
    const T* source;                            // of its next copy
    T* target;                                  // of the next rows of y
    uint32_t v[Form::n][kDepth][kFragments][4];

    __device__ __forceinline__ explicit AddPass(const Add& args)
        : p(args),
          queue(reinterpret_cast<uint4*>(dynamic_shared())),
          narrow(queue + kStages * kStageSlots),
          lane(static_cast<int>(threadIdx.x) % kWarp),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          t(lane % 4),
          first_row(blockIdx.y * int64_t{args.rows}),
          end_row(first_row + args.rows < args.m ? first_row + args.rows : args.m),
          warp_col(blockIdx.x * int64_t{kCols} + warp * kWarpCols),
          col(warp_col + 8 * pieces.piece()) {
        const int64_t copied_col = warp_col + 8 * pieces.copied_piece();
        const int64_t first = (first_row + pieces.copied_row(0)) * p.c + copied_col;
        n_rows = copied_col < p.c ? static_cast<int>(end_row - first_row) : 0;
        source = static_cast<const T*>(p.sum) + first;
        target = static_cast<T*>(p.y) + first;
    }

    __device__ __forceinline__ uint4* stage_at(int stage) const {
        return queue + stage * kStageSlots + warp * WarpTile::kPieces;
    }

    // The step that begins at row `row` of the block, of which the copies come in order.
    __device__ __forceinline__ void copy_step(int stage, int row) {
        if (p.sum != nullptr) {
            const T* from = source;
#pragma unroll
            for (int i = 0; i < WarpTile::kAccesses; ++i) {
                copy_async_of_line(stage_at(stage) + pieces.copied(i), from, row + pieces.copied_row(i) < n_rows);
                from += 4 * p.c;
            }
            source += kStep * p.c;
        }
        commit_copies();
    }

    // v_i[r,col .. col + 7], columns side by side.
    __device__ __forceinline__ uint4 v_row(const T* v, int r) const {
        return r < p.rank && col < p.c ? *reinterpret_cast<const uint4*>(v + r * p.v_r_stride + col)
                                       : uint4{0, 0, 0, 0};
    }
    // v_i[r,c] and v_i[r + 1,c], ranks side by side; r is even.
    __device__ __forceinline__ uint32_t v_pair(const T* v, int r, int64_t c) const {
        if (r >= p.rank || col >= p.c) return 0;
        const T* at = v + c * p.v_c_stride + r;
        if (p.rank % 2 == 0) return *reinterpret_cast<const uint32_t*>(at);
        return at[0].bits | (r + 1 < p.rank ? static_cast<uint32_t>(at[1].bits) << 16 : 0u);
    }

    __device__ __forceinline__ void read_v(int module, int depth) {
        const auto* from = static_cast<const T*>(p.v[module]);
        uint32_t(&to)[kFragments][4] = v[module][depth];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int r = 16 * depth + 8 * half + 2 * t;
            if (p.v_c_stride == 1) {
                const uint4 first = v_row(from, r), second = v_row(from, r + 1);
#pragma unroll
                for (int e = 0; e < 8; ++e)
                    to[e / 2][2 * half + e % 2] = pair_of(word_of(first, e / 2), word_of(second, e / 2), e % 2);
            } else {
#pragma unroll
                for (int e = 0; e < 8; ++e) to[e / 2][2 * half + e % 2] = v_pair(from, r, col + e);
            }
        }
    }

    __device__ __forceinline__ void read_factors() {
#pragma unroll
        for (int i = 0; i < Form::n; ++i)
#pragma unroll
            for (int d = 0; d < kDepth; ++d) read_v(i, d);
#pragma unroll
        for (int i = 0; i < Form::n; ++i) {
            Narrow u;
            u.read(p.u[i], p.u_dtype, first_row, end_row, p.rank, static_cast<int>(threadIdx.x));
            u.write(narrow + i * Narrow::kPieces, static_cast<int>(threadIdx.x));
        }
    }

    // c += v_i^T u_i^T of 64 columns and the 8 rows from `row` on.
    __device__ __forceinline__ void multiply(int module, int row, float (&c)[kFragments][4]) const {
        const uint4* tile = narrow + module * Narrow::kPieces + lane / 8 % 2 * kMostRows + row + lane % 8;
#pragma unroll
        for (int d = 0; d < kDepth; ++d) {
            uint32_t u[2];
            load_two_matrices(u, shared_address(tile + 2 * d * kMostRows));
#pragma unroll
            for (int f = 0; f < kFragments; ++f) multiply_add<T>(c[f], v[module][d][f], u[0], u[1]);
        }
    }

    // total[i][8] += a module's of this lane's columns of its row i of the 8. Element e of them is sum 2 (e % 2) + i of
    // fragment e / 2.
    __device__ __forceinline__ void add_module(int module, int row, const Masks& masks, const Start (&start)[2],
                                               float (&total)[2][8]) const {
        float c[kFragments][4] = {};
        multiply(module, row, c);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            Philox4 bits;
            if constexpr (Form::masked) bits = masks.bits(start[i], module);
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                const float value = c[e / 2][2 * (e % 2) + i];
                if constexpr (Form::masked) {
                    if (masks.keeps(bits.word[e / 2], e % 2)) total[i][e] += value;
                } else {
                    total[i][e] += value;
                }
            }
        }
    }

    // This lane's rows of the 8 from `row` on, the first or second half of a step.
    __device__ __forceinline__ void sum_modules(int row, int half, const Masks& masks, float (&total)[2][8]) const {
        const auto width = static_cast<uint32_t>(p.c / kMaskGroup);
        const uint32_t group = static_cast<uint32_t>(first_row + row) * width + static_cast<uint32_t>(col / kMaskGroup);
        Start start[2];
#pragma unroll
        for (int i = 0; i < 2; ++i)
            start[i] = masks.start(group + static_cast<uint32_t>(pieces.row(2 * half + i)) * width);
#pragma unroll
        for (int i = 0; i < Form::n; ++i) add_module(i, row + 8 * half, masks, start, total);
    }

    // This lane's pieces of y take the places of sum's.
    __device__ __forceinline__ void finish(uint4* stage, int half, const float (&total)[2][8]) const {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint4& piece = stage[pieces.own(2 * half + i)];
            float y[8] = {};
            if (p.sum != nullptr) load<8>(reinterpret_cast<const T*>(&piece), y);
#pragma unroll
            for (int e = 0; e < 8; ++e) y[e] = fmaf(p.scale_of_sum, total[i][e], y[e]);
            store<8>(reinterpret_cast<T*>(&piece), y);
        }
    }

    __device__ __forceinline__ void write(const uint4* stage, int row) {
        T* to = target;
#pragma unroll
        for (int i = 0; i < WarpTile::kAccesses; ++i) {
            if (row + pieces.copied_row(i) < n_rows) *reinterpret_cast<uint4*>(to) = stage[pieces.copied(i)];
            to += 4 * p.c;
        }
        target += kStep * p.c;
    }

    __device__ __forceinline__ void add(const Masks& masks) {
#pragma unroll
        for (int s = 0; s < kStages - 1; ++s) copy_step(s, s * kStep);
        read_factors();
        __syncthreads();
        int stage = 0;
        for (int row = 0; first_row + row < end_row; row += kStep) {
            __syncwarp();  // all lanes are done with the stage before, whose place is taken
            copy_step(stage == 0 ? kStages - 1 : stage - 1, row + (kStages - 1) * kStep);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float total[2][8] = {};
                sum_modules(row, half, masks, total);
                if (half == 0) {
                    wait_copies<kStages - 1>();
                    __syncwarp();
                }
                finish(stage_at(stage), half, total);
            }
            __syncwarp();
            write(stage_at(stage), row);
            stage = stage == kStages - 1 ? 0 : stage + 1;
        }
        wait_copies<0>();
    }
};

// Grid: (256 columns, rows of a block).
template <typename Form>
__global__ void __launch_bounds__(kThreads, AddPass<Form>::kBlocks) add_kernel(const __grid_constant__ Add p) {
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
    const bool masked = drops(p.mask, p.m * p.width);
    GGQ_ASSERT(p.v_c_stride == 1 || p.v_r_stride == 1);
    GGQ_ASSERT(p.n <= kMostModules && (p.u_dtype == DType::f32 || p.u_dtype == p.real));
    for (int first = 0; first < p.n; first += at_once) {
        Add args{.sum = first == 0 ? p.sum : p.y,
                 .y = p.y,
                 .u = {},
                 .v = {},
                 .u_dtype = p.u_dtype,
                 .m = p.m,
                 .c = p.width,
                 .v_r_stride = p.v_r_stride,
                 .v_c_stride = p.v_c_stride,
                 .rows = rows_of_block(p.m, p.width, ctx.device->n_sms),
                 .rank = p.rank,
                 .scale_of_sum = p.scale * p.mask.kept(),
                 .rng = p.mask.rng,
                 .scale = mask_scale(p.mask, first)};
        for (int i = 0; i < at_once; ++i) args.u[i] = p.u[first + i], args.v[i] = p.v[first + i];
        with_low_rank_form(p.real, p.rank, at_once, masked, [&](auto form) { run<decltype(form)>(ctx, args); });
    }
}

}  // namespace ggq::cuda
