// The workspace bytes that the ops of LoRA want: functions of shapes, dtypes and the card.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/view.h"

namespace ggq::cuda {

// x[m,k] that n adapted linears share, each of this rank; in lora_linear_backward dy is x and n is 1.
struct LowRankShape {
    int64_t m = 0, k = 0, rank = 0;
    int n = 1;
    DType real = DType::f32;
    float dropout = 0;
};

// low_rank.h takes it; else products of one linear after the other do.
bool takes_low_rank(const LowRankShape& s, const Device& device);

// Each a, of type `a`, in the computing type, if it has another; beside them what products want.
int64_t lora_down_workspace(const LowRankShape& s, DType a, const Device& device);
int64_t lora_down_backward_workspace(const LowRankShape& s, const Device& device);
int64_t lora_down_input_gradient_workspace(const LowRankShape& s, DType a, const Device& device);
// b in the computing type, likewise.
int64_t lora_linear_backward_workspace(const LowRankShape& s, DType b, const Device& device);

int64_t gradient_stride(int64_t rank);  // of one half of dxa in 16 bits: `rank` rounded up to 8

// The parts of a linear layer x[m,k], w[n,k], xa[m,r], b[n,r].
struct LoraShape {
    int64_t m = 0, n = 0, k = 0, rank = 0;
    DType real = DType::f32, w = DType::f32, b = DType::f32;
};
bool updates_before(const LoraShape& s, const Device& device);  // y = s xa b^T, then x w^T is added to it
int64_t lora_linear_workspace(const LoraShape& s, const Device& device);

}  // namespace ggq::cuda
