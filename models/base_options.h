// What every program asks about the base model and the machine, and the checks that all options share.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/backend.h"
#include "kernels/formats.h"

namespace ggq {

struct BaseOptions {
    std::string model;  // folder
    std::optional<DType> quant = DType::nf4;
    QuantSpec quant_spec;
    bool quant_given = false;  // some option of the quantization was named, so that it is a wish and not a default
    bool quant_only_adapted = false;
    std::optional<DType> compute_dtype;  // nothing: what the device does best
    bool tf32 = false;                   // f32 products on a GPU may round their factors to TF32
    bool lift_f32 = false;               // norms, embedding and head in f32, whatever the checkpoint says
    std::string device = "auto";
    int threads = 0;         // 0: every core
    std::string gpu_memory;  // the most to hold on a GPU, such as "24GiB"; empty: all of it
};

void validate(const BaseOptions& options);

int64_t gpu_memory_bytes(const BaseOptions& options);  // 0: no limit

// " (--gpu-memory 24GiB)" if there is a limit, for messages.
std::string memory_cap(const BaseOptions& options);

// Bytes of "24GiB", "500 MB", "1e9". Throws Error that names the flag.
int64_t memory_size(const char* flag, const std::string& text);

// Puts the device and computing type that are taken in the place of auto; returns a sentence for each wish that they do
// not fulfil.
std::vector<std::string> settle_device(BaseOptions& options, const Backend& backend);

void save_options(const BaseOptions& options, nlohmann::ordered_json& to);

// More than any count can sensibly be, and little enough that products of two cannot overflow.
inline constexpr int64_t kMostOfAnything = INT32_MAX;

// Each throws an Error that names the flag, the range and the value. NaN is in no range.
void require_positive(std::string_view flag, double value);
void require_positive(std::string_view flag, int64_t value);  // and at most kMostOfAnything
void require_not_negative(std::string_view flag, double value);
void require_not_negative(std::string_view flag, int64_t value);  // and at most kMostOfAnything
void require_at_most(std::string_view flag, int64_t value, int64_t most);
void require_fraction(std::string_view flag, double value);  // 0 <= value < 1

}  // namespace ggq
