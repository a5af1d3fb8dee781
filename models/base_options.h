// What every program asks about the base model and the machine.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "ggq/device.h"
#include "models/base_form.h"

namespace ggq {

// Which options of the quantization were named, so that they are wishes and not defaults.
struct QuantWishes {
    bool quant = false, block = false, double_quant = false, only_adapted = false;

    bool any() const { return quant || block || double_quant || only_adapted; }
};

struct BaseOptions : BaseForm {
    BaseOptions() { quant = DType::nf4; }

    std::string model;  // folder
    QuantWishes given;
    bool tf32 = false;  // f32 products on a GPU may round their factors to TF32
    std::string device = "auto";
    int threads = 0;         // 0: every core
    std::string gpu_memory;  // the most to hold on a GPU, such as "24GiB"; empty: all of it
    Pager pager = Pager::automatic;
    std::string gpu_table;  // a file of `tune` for the GPU; empty: what is built in
};

void validate(const BaseOptions& options);

// Takes the form of a checkpoint that is quantized already, if it is. Throws Error for a wish that contradicts it.
void take_stored_form(BaseOptions& options, const std::optional<QuantForm>& stored);

// Of a source whose weights are packed: holds them as they are, unless a format was wished for. Throws Error for wishes
// about a format that was not named.
void take_packed_form(BaseOptions& options);

int64_t gpu_memory_bytes(const BaseOptions& options);  // 0: no limit

// " (gpu_memory 24GiB)" if there is a limit, for messages.
std::string memory_cap(const BaseOptions& options);

// The device that the options name; throws Error when this build or machine has none such.
std::unique_ptr<Backend> make_backend(const BaseOptions& options);

// Puts the device and computing type that are taken in the place of auto; returns a sentence for each wish that they do
// not fulfil.
std::vector<std::string> settle_device(BaseOptions& options, const Backend& backend);

void save_options(const BaseOptions& options, nlohmann::ordered_json& to);

}  // namespace ggq
