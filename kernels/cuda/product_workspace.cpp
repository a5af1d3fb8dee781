#include "kernels/cuda/product_workspace.h"

#include <algorithm>

#include "kernels/cuda/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cuda {

namespace {

bool is_4bit(DType t) { return t == DType::nf4 || t == DType::fp4; }
bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }

int64_t bytes_of(int64_t n_elems, DType dtype) { return aligned_256(n_elems * info(dtype).bytes); }

}  // namespace

// Units of 64 weights share a scale, and rows begin on 32 bytes.
bool few_rows_in_tensor_cores(int64_t k, DType real, DType w) { return is_4bit(w) && is_half(real) && k % 64 == 0; }

// x takes at most 64 KiB beside the 43 KiB of the kernel's tables, so that two blocks fit where there is room for them.
int64_t few_rows_chunk(int64_t m, int64_t k, const Device& device) {
    constexpr int64_t kGroup = 256, kLargest = 64 << 10, kTables = 43 << 10;
    int64_t rows = 1;
    while (rows < m) rows *= 2;
    const int64_t room = std::min(kLargest, device.shared_bytes - kTables);
    const int64_t fits = std::max(room / (2 * rows) / kGroup * kGroup, kGroup);
    const int64_t parts = ceil_div(k, fits);
    return round_up(ceil_div(k, parts), kGroup);
}

int64_t few_rows_workspace(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device) {
    if (!few_rows_in_tensor_cores(k, real, w)) return 0;
    const int64_t parts = ceil_div(k, few_rows_chunk(m, k, device));
    return parts > 1 ? aligned_256(parts * m * n * 4) : 0;
}

// Tables of 33 KiB and three steps of x, whose rows are padded to 16, 32 or 64.
int64_t some_rows_shared(int64_t m) {
    constexpr int64_t kTables = 33 << 10, kStages = 3;
    return kTables + kStages * (m <= 16 ? 16 : m <= 32 ? 32 : 64) * kSomeStep * 2;
}

bool takes_some_rows(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device) {
    const Tuning& t = device.tuning;
    const int64_t most = n * k < kLargeMatrix ? t.some_rows : t.some_rows_large;
    return m > t.few_rows && m <= std::min(most, kSomeRows) && few_rows_in_tensor_cores(k, real, w) &&
           some_rows_shared(m) <= device.shared_bytes;
}

// Some blocks for each multiprocessor, or one where there are so many rows that sums of parts weigh as much as w; each
// of four steps at least.
int64_t some_rows_chunk(int64_t m, int64_t n, int64_t k, const Device& device) {
    const int64_t blocks = std::max<int64_t>(ceil_div(n, kSomeCols), 1),
                  wanted = int64_t{device.n_sms} * (m <= 32 ? device.tuning.some_rows_blocks : 1);
    const int64_t steps = ceil_div(k, kSomeStep), most = std::max<int64_t>(steps / 4, 1);
    const int64_t parts = std::clamp<int64_t>(ceil_div(wanted, blocks), 1, most);
    return ceil_div(steps, parts) * kSomeStep;
}

int64_t some_rows_workspace(int64_t m, int64_t n, int64_t k, const Device& device) {
    return aligned_256(ceil_div(k, some_rows_chunk(m, n, k, device)) * m * n * 4);
}

bool takes_several_rows(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device) {
    return device.hopper && m > 1 && m <= kSeveralRows && is_4bit(w) && is_half(real) && n > 0 && n % 16 == 0 &&
           k > 0 && k % 512 == 0 && device.shared_bytes >= kSeveralShared;
}

int64_t several_rows_cols(int64_t m) { return m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : 64; }

int64_t several_rows_tile(int64_t m) { return m <= 16 ? 256 : 192; }

int64_t several_rows_workspace(int64_t m, int64_t n_tiles, const Device& device) {
    const int64_t cols = several_rows_cols(m), places = device.n_sms + n_tiles * ceil_div(m, cols);
    return aligned_256(places * cols * several_rows_tile(m) * 4);
}

int64_t blas_workspace(const Device& device) { return int64_t{device.capability >= 90 ? 32 : 4} << 20; }

int64_t converted_bytes(int64_t n_elems, DType from, DType real) { return from == real ? 0 : bytes_of(n_elems, real); }

int64_t tiled_workspace(int64_t m, int64_t n, int64_t k, DType real, DType x, DType w, const Device& device) {
    return converted_bytes(m * k, x, real) + converted_bytes(n * k, w, real) + blas_workspace(device);
}

bool leaves_few_rows(int64_t m, int64_t n, int64_t k, DType real, DType w) {
    return m > 4 && w == real && is_half(real) && n * k >= int64_t{1} << 24;
}

bool multiplies_restored(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device) {
    return m > kFewRows && !takes_some_rows(m, n, k, real, w, device) && !takes_several_rows(m, n, k, real, w, device);
}

int64_t product_workspace(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device) {
    const int64_t several = takes_several_rows(m, n, k, real, w, device)
                                ? several_rows_workspace(m, ceil_div(n, several_rows_tile(m)), device)
                                : 0;
    if (takes_some_rows(m, n, k, real, w, device))
        return std::max(several, bytes_of(m * k, real) + some_rows_workspace(m, n, k, device));
    if (m <= kFewRows && !leaves_few_rows(m, n, k, real, w))
        return std::max(several, few_rows_workspace(m, n, k, real, w, device));
    return std::max(several, tiled_workspace(m, n, k, real, real, w, device));
}

// Four blocks for each multiprocessor, each of 256 of k at least.
int low_rank_splits(int64_t m, int64_t n, int64_t k, const Device& device) {
    const int64_t tiles = std::max<int64_t>(ceil_div(m, 128) * ceil_div(n, n <= 32 ? 32 : 64), 1);
    const int64_t wanted = int64_t{4} * device.n_sms;
    return static_cast<int>(std::clamp<int64_t>(wanted / tiles, 1, std::clamp<int64_t>(k / 256, 1, 32)));
}

int64_t low_rank_workspace(int64_t m, int64_t n, int64_t k, bool in_halves, const Device& device) {
    const int splits = low_rank_splits(m, n, k, device);
    return splits > 1 || in_halves ? aligned_256(splits * m * n * 4) : 0;
}

int64_t linear_input_gradient_workspace(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device) {
    return tiled_workspace(m, k, n, real, real, w, device);
}

HeadBuffers head_buffers(int64_t n_rows, int64_t channels, int64_t vocabulary, DType real, DType w,
                         const LinearCrossEntropyParams& params) {
    HeadBuffers at;
    at.chunk = std::min<int64_t>(params.chunk, n_rows);
    at.logits_stride = round_up(vocabulary, 8);
    const int64_t gathered_bytes = bytes_of(at.chunk * channels, real);
    at.rows = at.n_labelled + aligned_256(4);
    at.losses = at.rows + aligned_256(n_rows * 4);
    at.w = at.losses + aligned_256(n_rows * 8);
    at.gathered = at.w + converted_bytes(vocabulary * channels, w, real);
    at.dx = at.gathered + gathered_bytes;
    at.logits = at.dx + (params.gradient == HeadGradient::none ? 0 : gathered_bytes);
    at.product = at.logits + aligned_256(at.chunk * at.logits_stride * 4);
    return at;
}

int64_t linear_cross_entropy_workspace(int64_t n_rows, int64_t channels, int64_t vocabulary, DType real, DType w,
                                       const LinearCrossEntropyParams& params, const Device& device) {
    return head_buffers(n_rows, channels, vocabulary, real, w, params).product + blas_workspace(device);
}

}  // namespace ggq::cuda
