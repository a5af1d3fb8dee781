#include "kernels/cuda/lora_workspace.h"

#include <algorithm>

#include "kernels/cuda/low_rank_workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cuda {

namespace {

bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }
bool masked(const LowRankShape& s) { return s.dropout > 0; }
int64_t bytes_of(int64_t n_elems, DType dtype) { return aligned_256(n_elems * info(dtype).bytes); }

int64_t tiled(int64_t m, int64_t n, int64_t k, const LowRankShape& s, DType w, const Device& device) {
    return tiled_workspace(m, n, k, s.real, s.real, w, device);
}

}  // namespace

bool takes_low_rank(const LowRankShape& s, const Device& device) {
    return takes_low_rank(s.real, s.k, s.rank, s.dropout, device);
}

int64_t gradient_stride(int64_t rank) { return round_up(rank, 8); }

int64_t lora_down_workspace(const LowRankShape& s, DType a, const Device& device) {
    const int64_t converted = converted_bytes(s.rank * s.k, a, s.real);
    if (takes_low_rank(s, device)) return s.n * converted;
    if (masked(s)) return converted + low_rank_workspace(s.m, s.rank, s.k, false, device);
    return product_workspace(s.m, s.rank, s.k, s.real, a, device);
}

int64_t lora_down_backward_workspace(const LowRankShape& s, const Device& device) {
    if (takes_low_rank(s, device)) return low_rank_outer_workspace(s.m, s.k, s.rank, s.n, device);
    if (!is_half(s.real)) return low_rank_workspace(s.k, s.rank, s.m, false, device);
    const int64_t width = 2 * gradient_stride(s.rank);
    return bytes_of(s.m * width, s.real) + low_rank_workspace(s.k, width, s.m, true, device);
}

int64_t lora_down_input_gradient_workspace(const LowRankShape& s, DType a, const Device& device) {
    const int64_t converted = converted_bytes(s.rank * s.k, a, s.real);
    if (takes_low_rank(s, device)) return s.n * converted;
    return converted + converted_bytes(s.m * s.rank, DType::f32, s.real) + tiled(s.m, s.k, s.rank, s, a, device);
}

int64_t lora_linear_backward_workspace(const LowRankShape& s, DType b, const Device& device) {
    if (takes_low_rank(s, device))
        return converted_bytes(s.rank * s.k, b, s.real) + low_rank_backward_workspace(s.m, s.k, s.rank, device);
    return std::max(tiled(s.m, s.rank, s.k, s, b, device), tiled(s.k, s.rank, s.m, s, s.real, device));
}

bool updates_before(const LoraShape& s, const Device& device) {
    return s.m > kSomeRows && takes_low_rank(s.real, s.n, s.rank, 0, device);
}

int64_t lora_linear_workspace(const LoraShape& s, const Device& device) {
    const int64_t update = converted_bytes(s.n * s.rank, s.b, s.real);
    return update + product_workspace(s.m, s.n, s.k, s.real, s.w, device);
}

}  // namespace ggq::cuda
