// Which products the kernel of product_hopper.cuh takes, in which tiling, and its launch.
#include "kernels/cuda/product_hopper.cuh"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_hopper.h"
#include "kernels/cuda/tensor_map.h"

namespace ggq::cuda {

namespace {

using namespace hopper;

constexpr int kBandRows = 2048;
// At 512 rows the kernel alone was faster than what it replaces. With it steps of 8,192 rows were 3 to 7 % slower than
// those of the version before, on another card: more rows are left to the library until they are measured apart.
constexpr int64_t kMostRows = 1024;

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

// Rows of 16 bytes, aligned to them; copies in another type have such.
bool has_panels(const Operand& o, DType real) {
    return o.dtype != real || (o.k_stride == 1 && o.row_stride % 8 == 0 && on_16(o.data));
}

bool takes_update(const LowRank& u, DType real) {
    return u.rank > 0 && u.rank % 8 == 0 && u.rank <= kPanel && u.xa_dtype == real && on_16(u.xa) &&
           has_panels(operand(u.b, u.b_dtype, u.rank), real);
}

bool takes(const Product& p, const void* sum, const Device& device) {
    const Output& y = p.y;
    return device.hopper && p.real != DType::f32 && p.m <= kMostRows && fills(p.m, p.n, device) && p.n % 8 == 0 &&
           p.k % 8 == 0 && y.dtype == p.real && y.alpha == 1 && y.beta == 0 && y.col_stride == 1 &&
           y.row_stride == p.n && on_16(y.data) && on_16(sum) && p.x.dtype == p.real && has_panels(p.x, p.real) &&
           has_panels(p.w, p.real) && takes_update(y.low_rank, p.real);
}

// What is multiplied, all in one type: x w^T and u v^T.
struct Factors {
    Operand x, w, u, v;
};

Factors factors_of(const CudaContext& ctx, const Product& p, Scratch scratch) {
    const LowRank& u = p.y.low_rank;
    Factors f{.x = p.x, .w = {}, .u = operand(u.xa, u.xa_dtype, u.rank), .v = {}};
    f.w = converted(ctx, p.w, p.n, p.k, p.real, scratch);
    f.v = converted(ctx, operand(u.b, u.b_dtype, u.rank), p.n, u.rank, p.real, scratch);
    return f;
}

template <typename S>
ProductMaps maps_of(const Product& p, const Factors& f, const void* sum) {
    const auto panels = [&](const Operand& o, int64_t rows, int64_t cols, int at_once) {
        return matrix_panels(o.data, p.real, rows, cols, o.row_stride, at_once);
    };
    const auto of_y = [&](const void* y, int at_once) { return matrix_panels(y, p.real, p.m, p.n, p.n, at_once); };
    const int rank = p.y.low_rank.rank;
    return {.x = panels(f.x, p.m, p.k, kTileRows),
            .w = panels(f.w, p.n, p.k, S::kPart),
            .u = panels(f.u, p.m, rank, kTileRows),
            .v = panels(f.v, p.n, rank, S::kPart),
            .sum = of_y(sum ? sum : p.y.data, kTileRows),
            .y = of_y(p.y.data, kGroupRows)};
}

template <typename S>
ProductCall call_of(const Product& p, const void* sum) {
    constexpr int kRows = S::kCluster * kTileRows;
    return {.steps = static_cast<int>(ceil_div(p.k, kPanel)),
            .narrow = p.y.low_rank.rank <= 16,
            .scale = p.y.low_rank.scale,
            .with_sum = sum != nullptr,
            .row_tiles = static_cast<int>(ceil_div(p.m, kRows)),
            .col_tiles = static_cast<int>(ceil_div(p.n, S::kCols)),
            .band = kBandRows / kRows};
}

template <typename S>
void run(const CudaContext& ctx, const Product& p, const Factors& f, const void* sum) {
    const ProductCall call = call_of<S>(p, sum);
    const int64_t tiles = int64_t{call.row_tiles} * call.col_tiles, clusters = ctx.device->n_sms / S::kCluster;
    const dim3 grid(static_cast<unsigned>((tiles < clusters ? tiles : clusters) * S::kCluster));
    launch_clusters(ctx, multiply_tiles<S>, grid, dim3(S::kCluster), dim3(kProductThreads), sizeof(typename S::Shared),
                    call, maps_of<S>(p, f, sum));
}

template <typename T>
void run_as(const CudaContext& ctx, const Product& p, const Factors& f, const void* sum) {
    if (tile_cols(p.m, p.n, *ctx.device) == 128) run<Tiling<T, 128, 6, cluster_of(128)>>(ctx, p, f, sum);
    else run<Tiling<T, 256, 4, cluster_of(256)>>(ctx, p, f, sum);
}

}  // namespace

bool multiply_in_one(const CudaContext& ctx, const Product& p, const void* sum, Scratch scratch) {
    if (!takes(p, sum, *ctx.device)) return false;
    const Factors f = factors_of(ctx, p, scratch);
    if (p.real == DType::f16) run_as<f16>(ctx, p, f, sum);
    else run_as<bf16>(ctx, p, f, sum);
    return true;
}

}  // namespace ggq::cuda
