#include "ggq/gpu_table.h"

#include "ggq/error.h"
#include "ggq/gpu_file.h"

namespace ggq {

namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// By `tune` on an H200, weights of 4096 x 4096 and 14336 x 4096; an H100 has the same multiprocessors.
constexpr cuda::Tuning kHopperTuning = {.few_rows = 4, .some_rows = 48, .some_rows_blocks = 3};

// Measured by `train_step --profile` on an H200: what an op reaches on 8,192 tokens of an 8B shape, and what it takes
// beside on 512. H100 by its memory's share.
Costs hopper_costs(double memory_share) {
    Costs c;
    c.rest = {"", 700e12, 3.2e12 * memory_share, 3e-6};
    c.copy_in = 50e9;
    c.copy_out = 50e9;
    c.ops = {{"lora_linear", 690e12, 3.0e12 * memory_share, 20e-6},
             {"lora_linear_backward", 440e12, 3.0e12 * memory_share, 10e-6},
             {"attention", 540e12, 3.0e12 * memory_share, 4e-6},
             {"attention_backward", 420e12, 3.0e12 * memory_share, 8e-6},
             {"rope", 700e12, 1.2e12 * memory_share, 3e-6},
             {"rms_norm", 700e12, 2.2e12 * memory_share, 3e-6}};
    return c;
}

const GpuModel kModels[] = {
    {.name = "h200",
     .part = "H200",
     .device = {.capability = 90, .n_sms = 132, .shared_bytes = 232448, .hopper = true, .tuning = kHopperTuning},
     .memory_bytes = 140 * kGiB,
     .overhead_bytes = 604 << 20,
     .costs = hopper_costs(1)},
    {.name = "h100",
     .part = "H100",
     .device = {.capability = 90, .n_sms = 132, .shared_bytes = 232448, .hopper = true, .tuning = kHopperTuning},
     .memory_bytes = 79 * kGiB,
     .overhead_bytes = 604 << 20,
     .costs = hopper_costs(0.7)},
};

}  // namespace

std::span<const GpuModel> gpu_models() { return kModels; }

int64_t recorded_bytes(int64_t n_ops, int64_t n_copies) {
    constexpr int64_t kOp = 6400, kCopy = 40000;
    return n_ops * kOp + n_copies * kCopy;
}

std::string gpu_list() {
    std::string names;
    for (const GpuModel& model : kModels) names += (names.empty() ? "" : ", ") + model.name;
    return names;
}

GpuModel gpu_model(const std::string& name) {
    if (name.ends_with(".json")) return read_gpu_file(name).model;
    for (const GpuModel& model : kModels)
        if (name == model.name) return model;
    fail("`gpu`: expected a card that can be planned for without one ({}) or a FILE.json of tune, got '{}'", gpu_list(),
         name);
}

Costs gpu_costs(const std::string& driver_name, const cuda::Device& device) {
    for (const GpuModel& model : kModels)
        if (driver_name.find(model.part) != std::string::npos) return model.costs;
    Costs c;
    const double of_an_sm = device.capability >= 90 ? 4.5e12 : device.capability >= 80 ? 1.8e12 : 0.9e12;
    c.rest = {"", of_an_sm * device.n_sms, 1e10 * device.n_sms, 4e-6};
    c.copy_in = c.copy_out = 2e10;
    return c;
}

cuda::Tuning gpu_tuning(const std::string& driver_name) {
    for (const GpuModel& model : kModels)
        if (driver_name.find(model.part) != std::string::npos) return model.device.tuning;
    return {};
}

namespace {

void check_dtype(const OpArg& arg, const TensorType& type, const char* op, const std::string& place,
                 const cuda::Device& device) {
    require(type.dtype != DType::f64, "[{}]{} {}: expected f32, f16 or bf16 on CUDA, got {}; cast it first", op, place,
            arg.name, to_string(type));
    // Kernels convert operands that are stored in bf16 on every card.
    require(arg.type != "real" || type.dtype != DType::bf16 || device.has_bf16(),
            "[{}]{} {}: this GPU has no bf16; use `compute_dtype` f16 or f32", op, place, arg.name);
}

}  // namespace

void check_gpu_supports(const OpCall& call, const cuda::Device& device) {
    const std::string place = call.where.empty() ? "" : " " + std::string(call.where);
    require(call.op.kernel.cuda != nullptr, "[{}]{}: has no CUDA kernel", call.op.name, place);
    const Signature signature = parse_signature(call.op, std::ssize(call.in));
    for (size_t i = 0; i < call.in.size(); ++i) check_dtype(signature.in[i], call.in[i], call.op.name, place, device);
    for (size_t i = 0; i < call.out.size(); ++i)
        check_dtype(signature.out[i], call.out[i], call.op.name, place, device);
}

}  // namespace ggq
