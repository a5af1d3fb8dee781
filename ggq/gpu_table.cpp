#include "ggq/gpu_table.h"

#include "ggq/error.h"

namespace ggq {

namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// Measured by `train_step --profile`: what an op reaches on 8,192 tokens of an 8B shape. H100 by its memory's share.
Costs hopper_costs(double memory_share) {
    Costs c;
    c.flops = 600e12;
    c.bytes = 3.6e12 * memory_share;
    c.start = 2.5e-6;
    c.copy_in = 50e9;
    c.copy_out = 50e9;
    c.ops = {{"lora_linear", 560e12, 3.0e12 * memory_share},
             {"lora_linear_backward", 480e12, 3.0e12 * memory_share},
             {"attention", 300e12, 3.0e12 * memory_share},
             {"attention_backward", 220e12, 3.0e12 * memory_share}};
    return c;
}

const GpuModel kModels[] = {
    {.name = "h200",
     .part = "H200",
     .device = {.capability = 90, .n_sms = 132, .shared_bytes = 232448},
     .memory_bytes = 140 * kGiB,
     .overhead_bytes = 620 << 20,
     .costs = hopper_costs(1)},
    {.name = "h100",
     .part = "H100",
     .device = {.capability = 90, .n_sms = 132, .shared_bytes = 232448},
     .memory_bytes = 79 * kGiB,
     .overhead_bytes = 620 << 20,
     .costs = hopper_costs(0.7)},
};

}  // namespace

std::span<const GpuModel> gpu_models() { return kModels; }

std::string gpu_list() {
    std::string names;
    for (const GpuModel& model : kModels) names += (names.empty() ? "" : ", ") + std::string(model.name);
    return names;
}

const GpuModel& gpu_model(const std::string& name) {
    for (const GpuModel& model : kModels)
        if (name == model.name) return model;
    fail("`gpu`: expected a card that can be planned for without one ({}), got '{}'", gpu_list(), name);
}

Costs gpu_costs(const std::string& driver_name, const cuda::Device& device) {
    for (const GpuModel& model : kModels)
        if (driver_name.find(model.part) != std::string::npos) return model.costs;
    Costs c;
    c.flops = 1e12 * device.n_sms * (device.capability >= 90 ? 4.5 : device.capability >= 80 ? 1.8 : 0.9);
    c.bytes = 1e10 * device.n_sms;
    c.start = 3e-6;
    c.copy_in = c.copy_out = 2e10;
    return c;
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
    const Signature signature = parse_signature(call.op);
    for (size_t i = 0; i < call.in.size(); ++i) check_dtype(signature.in[i], call.in[i], call.op.name, place, device);
    for (size_t i = 0; i < call.out.size(); ++i)
        check_dtype(signature.out[i], call.out[i], call.op.name, place, device);
}

}  // namespace ggq
