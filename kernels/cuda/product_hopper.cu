// Which tiling of the kernel in product_hopper.cuh a product takes, and its launch.
#include "kernels/cuda/product_hopper.cuh"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"

namespace ggq::cuda {

namespace {

using namespace hopper;

constexpr int kBandRows = 2048;

// Blocks that share panels of w: pairs pay where a tile is wide, and cost a little where the card is hardly filled.
constexpr int cluster_of(int cols) { return cols == 256 ? 2 : 1; }

bool on_16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// What the multiprocessor with most tiles takes, in columns of a tile.
int64_t columns_in_turn(int64_t m, int64_t n, int cols, const Device& device) {
    const int blocks = cluster_of(cols);
    const int64_t tiles = ceil_div(m, blocks * kTileRows) * ceil_div(n, cols);
    return ceil_div(tiles, device.n_sms / blocks) * cols;
}

// Of the tiles that are done first; wide ones read less.
int tile_cols(int64_t m, int64_t n, const Device& device) {
    return columns_in_turn(m, n, 128, device) < columns_in_turn(m, n, 256, device) ? 128 : 256;
}

// Whether a quarter of the multiprocessors' time at most is lost to tiles that are not full, or not there.
bool fills(int64_t m, int64_t n, const Device& device) {
    const int64_t turns = columns_in_turn(m, n, tile_cols(m, n, device), device);
    return 4 * m * n >= 3 * turns * device.n_sms * kTileRows;
}

bool is_turned(const Operand& o) { return o.k_stride != 1; }
int64_t stride_of(const Operand& o) { return is_turned(o) ? o.k_stride : o.row_stride; }

// Rows on 16 bytes, as copies in another type have them.
bool on_16(const Operand& o, DType real) { return o.dtype != real || (on_16(o.data) && stride_of(o) % 8 == 0); }

bool takes_update(const Product& p) {
    const LowRank& u = p.y.low_rank;
    return u.rank == 0 || (!is_turned(p.w) && u.xa_dtype == p.real && u.rank % 8 == 0 && u.rank <= kMostRank &&
                           on_16(u.xa) && on_16(operand(u.b, u.b_dtype, u.rank), p.real));
}

bool takes(const Product& p, const void* sum, const Device& device) {
    const Output& y = p.y;
    return device.hopper && p.real != DType::f32 && fills(p.m, p.n, device) && p.n % 8 == 0 && p.k % 8 == 0 &&
           y.dtype == p.real && y.alpha == 1 && y.beta == 0 && y.col_stride == 1 && y.row_stride == p.n &&
           on_16(y.data) && on_16(sum) && !is_turned(p.x) && on_16(p.x, p.real) &&
           (!is_turned(p.w) || p.w.row_stride == 1) && on_16(p.w, p.real) && takes_update(p);
}

HopperTerm term_of(const Operand& x, const Operand& w, int64_t k) {
    return {.x = x.data, .w = w.data, .k = k, .x_stride = stride_of(x), .w_stride = stride_of(w)};
}

template <typename S>
CUtensorMap w_panels(const HopperProduct& p, const HopperTerm& t) {
    if constexpr (S::kTurned) return matrix_panels(t.w, p.real, t.k, p.n, t.w_stride, kPanel);
    else return matrix_panels(t.w, p.real, p.n, t.k, t.w_stride, S::kPart);
}

CUtensorMap y_panels(const HopperProduct& p, const void* y, int rows) {
    return matrix_panels(y, p.real, p.m, p.n, p.n, rows);
}

template <typename S>
ProductMaps maps_of(const HopperProduct& p) {
    ProductMaps maps{};
    const auto x_panels = [&](const HopperTerm& t) {
        return matrix_panels(t.x, p.real, p.m, t.k, t.x_stride, kTileRows);
    };
    for (int i = 0; i < p.n_terms; ++i) {
        maps.x[i] = x_panels(p.terms[i]);
        maps.w[i] = w_panels<S>(p, p.terms[i]);
    }
    if (p.low_rank.k > 0) {
        maps.u = x_panels(p.low_rank);
        maps.v = w_panels<S>(p, p.low_rank);
    }
    if (p.sum) maps.sum = y_panels(p, p.sum, kTileRows);
    maps.y = y_panels(p, p.y, kGroupRows);
    return maps;
}

template <typename S>
ProductCall call_of(const HopperProduct& p) {
    constexpr int kRows = S::kCluster * kTileRows;
    ProductCall call;
    for (int i = 0; i < p.n_terms; ++i) call.steps[i] = static_cast<int>(ceil_div(p.terms[i].k, kPanel));
    call.rank_steps = static_cast<int>(ceil_div(p.low_rank.k, 16));
    call.scale = p.scale;
    call.with_sum = p.sum != nullptr;
    call.row_tiles = static_cast<int>(ceil_div(p.m, kRows));
    call.col_tiles = static_cast<int>(ceil_div(p.n, S::kCols));
    call.band = kBandRows / kRows;
    return call;
}

template <typename S>
void run(const CudaContext& ctx, const HopperProduct& p) {
    const ProductCall call = call_of<S>(p);
    const int64_t tiles = int64_t{call.row_tiles} * call.col_tiles, clusters = ctx.device->n_sms / S::kCluster;
    const dim3 grid(static_cast<unsigned>((tiles < clusters ? tiles : clusters) * S::kCluster));
    launch_clusters(ctx, multiply_tiles<S>, grid, dim3(S::kCluster), dim3(kProductThreads), sizeof(typename S::Shared),
                    call, maps_of<S>(p));
}

template <typename T, bool turned>
void run_in(const CudaContext& ctx, const HopperProduct& p) {
    if (tile_cols(p.m, p.n, *ctx.device) == 128) return run<Tiling<T, 128, 6, 2, cluster_of(128), turned>>(ctx, p);
    run<Tiling<T, 256, 4, 2, cluster_of(256), turned>>(ctx, p);
}

template <typename T>
void run_as(const CudaContext& ctx, const HopperProduct& p) {
    if (p.turned) run_in<T, true>(ctx, p);
    else run_in<T, false>(ctx, p);
}

}  // namespace

bool multiply_in_one(const CudaContext& ctx, const Product& p, const void* sum, Scratch scratch) {
    if (!takes(p, sum, *ctx.device)) return false;
    HopperProduct whole{.m = p.m, .n = p.n, .real = p.real, .turned = is_turned(p.w), .sum = sum, .y = p.y.data};
    const Operand x = converted(ctx, p.x, p.m, p.k, p.real, scratch);
    whole.terms[0] = term_of(x, converted(ctx, p.w, p.n, p.k, p.real, scratch), p.k);
    const LowRank& u = p.y.low_rank;
    if (u.rank > 0) {
        const Operand b = converted(ctx, operand(u.b, u.b_dtype, u.rank), p.n, u.rank, p.real, scratch);
        whole.low_rank = term_of(operand(u.xa, u.xa_dtype, u.rank), b, u.rank);
        whole.scale = u.scale;
    }
    hopper_product(ctx, whole);
    return true;
}

void hopper_product(const CudaContext& ctx, const HopperProduct& p) {
    if (p.real == DType::f16) run_as<f16>(ctx, p);
    else run_as<bf16>(ctx, p);
}

}  // namespace ggq::cuda
