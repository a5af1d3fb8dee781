// What is known of graphics cards without having one: by this a run is planned for a card that is not there, and work
// is weighed on one that is.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ggq/costs.h"
#include "ggq/op.h"
#include "kernels/cuda/device.h"

namespace ggq {

struct GpuModel {
    std::string name;  // as planned for: "h200"
    std::string part;  // of the name by which the driver calls it
    cuda::Device device;
    int64_t memory_bytes = 0;    // as the driver counts it
    int64_t overhead_bytes = 0;  // that context, kernels and cuBLAS take
    Costs costs;
};

std::span<const GpuModel> gpu_models();

// Left free beside a plan: the driver takes memory in pieces, and what it takes for recordings is known roughly.
inline constexpr int64_t kGpuReserve = 48 << 20;
// What the driver takes for kernels once they have run, and for the recordings of so many steps: measured on an H200 in
// 40 runs of 1B to 70B shapes, 3 MiB off at most without copies, which make branches, and 40 MiB with them.
inline constexpr int64_t kKernelBytes = 10 << 20;
int64_t recorded_bytes(int64_t n_ops, int64_t n_copies);

std::string gpu_list();  // "h200, h100"

// One by its name, or of a file that ends in ".json" (ggq/gpu_file.h). Throws Error with all names for another.
GpuModel gpu_model(const std::string& name);

// The costs of a card by the driver's name for it; of one that is not in the table, by its size.
Costs gpu_costs(const std::string& driver_name, const cuda::Device& device);
// The choices among kernels for it; of one that is not in the table, those for all.
cuda::Tuning gpu_tuning(const std::string& driver_name);

// Throws Error if an op, its dtypes or shapes have no kernel on a card.
void check_gpu_supports(const OpCall& call, const cuda::Device& device);

}  // namespace ggq
