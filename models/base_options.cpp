#include "models/base_options.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/option_names.h"

namespace ggq {

void require_positive(std::string_view flag, double value) {
    require(std::isfinite(value) && value > 0, "{}: expected a number above 0, got {}", flag, value);
}

void require_positive(std::string_view flag, int64_t value) {
    require(value > 0, "{}: expected a number above 0, got {}", flag, value);
    require_at_most(flag, value, kMostOfAnything);
}

void require_not_negative(std::string_view flag, double value) {
    require(std::isfinite(value) && value >= 0, "{}: expected a number of at least 0, got {}", flag, value);
}

void require_not_negative(std::string_view flag, int64_t value) {
    require(value >= 0, "{}: expected a number of at least 0, got {}", flag, value);
    require_at_most(flag, value, kMostOfAnything);
}

void require_at_most(std::string_view flag, int64_t value, int64_t most) {
    require(value <= most, "{}: expected at most {}, got {}", flag, most, value);
}

void require_fraction(std::string_view flag, double value) {
    require(value >= 0 && value < 1, "{}: expected a number from 0 to below 1, got {}", flag, value);
}

namespace {

constexpr int64_t kMostThreads = 1024;

void validate_device(const std::string& device) {
    if (device == "auto" || device == "cpu") return;
    const bool numbered = device.starts_with("cuda:") && device.size() > 5 &&
                          std::all_of(device.begin() + 5, device.end(), [](char c) { return c >= '0' && c <= '9'; });
    require(device == "cuda" || numbered, "--device: expected auto, cpu, cuda or cuda:N, got '{}'", device);
    fail("--device {}: this program was built without CUDA; use --device cpu", device);
}

}  // namespace

void validate(const BaseOptions& options) {
    validate_device(options.device);
    require_not_negative("--threads", static_cast<int64_t>(options.threads));
    require_at_most("--threads", options.threads, kMostThreads);
    const int block = options.quant_spec.block;
    require(block == 64 || block == 128 || block == 256, "--quant-block: expected 64, 128 or 256, got {}", block);
}

std::vector<std::string> settle(BaseOptions& options) {
    if (!options.compute_dtype || *options.compute_dtype == DType::f32) return {};
    const std::string wish = option_text(kComputeDTypes, options.compute_dtype);
    options.compute_dtype = DType::f32;
    return {"--compute-dtype " + wish + " runs as f32: the CPU computes in nothing else"};
}

void save_options(const BaseOptions& options, nlohmann::ordered_json& to) {
    to["model"] = options.model;
    to["quant"] = option_text(kQuantNames, options.quant);
    to["quant_block"] = options.quant_spec.block;
    to["double_quant"] = options.quant_spec.double_quant;
    to["quant_only_adapted"] = options.quant_only_adapted;
    to["compute_dtype"] = option_text(kComputeDTypes, options.compute_dtype);
    to["lift_f32"] = options.lift_f32;
    to["device"] = options.device;
    to["threads"] = options.threads;
}

}  // namespace ggq
