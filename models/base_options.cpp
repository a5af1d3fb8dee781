#include "models/base_options.h"

#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "ggq/device.h"
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

// "24GiB", "800 MB", "1.5g" or a number of bytes.
std::optional<int64_t> bytes_of(const std::string& text) {
    size_t used = 0;
    double number = 0;
    try {
        number = std::stod(text, &used);
    } catch (const std::exception&) {
        return std::nullopt;
    }
    std::string unit;
    for (char c : text.substr(used))
        if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    constexpr std::pair<std::string_view, double> kUnits[] = {
        {"", 1},       {"b", 1},      {"kb", 1e3},     {"mb", 1e6},     {"gb", 1e9},     {"k", 0x1p10},
        {"m", 0x1p20}, {"g", 0x1p30}, {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30},
    };
    for (const auto& [name, factor] : kUnits)
        if (name == unit && std::isfinite(number) && number > 0 && number * factor < 0x1p62)
            return static_cast<int64_t>(number * factor);
    return std::nullopt;
}

}  // namespace

void validate(const BaseOptions& options) {
    gpu_of(options.device);
    gpu_memory_bytes(options);
    require_not_negative("--threads", static_cast<int64_t>(options.threads));
    require_at_most("--threads", options.threads, kMostThreads);
    const int block = options.quant_spec.block;
    require(block == 64 || block == 128 || block == 256, "--quant-block: expected 64, 128 or 256, got {}", block);
}

int64_t gpu_memory_bytes(const BaseOptions& options) {
    return options.gpu_memory.empty() ? 0 : memory_size("--gpu-memory", options.gpu_memory);
}

std::string memory_cap(const BaseOptions& options) {
    return options.gpu_memory.empty() ? "" : " (--gpu-memory " + options.gpu_memory + ")";
}

int64_t memory_size(const char* flag, const std::string& text) {
    const auto bytes = bytes_of(text);
    require(bytes.has_value(), "{}: expected a size such as 24GiB, got '{}'", flag, text);
    return *bytes;
}

std::vector<std::string> settle_device(BaseOptions& options, const Backend& backend) {
    const std::optional<DType> wish = options.compute_dtype;
    const bool on_cpu = backend.reads_host_memory();
    options.compute_dtype = on_cpu ? DType::f32 : wish.value_or(backend.compute_dtype());
    std::vector<std::string> notes;
    if (wish && *wish != *options.compute_dtype)
        notes.push_back("--compute-dtype " + option_text(kComputeDTypes, wish) +
                        " runs as f32: the CPU computes in nothing else");
    if (on_cpu && !options.gpu_memory.empty()) notes.emplace_back("--gpu-memory says nothing to the CPU");
    if (on_cpu && options.tf32) notes.emplace_back("--tf32 says nothing to the CPU");
    if (options.device != "auto") return notes;
    options.device = backend.name();
    if (const std::string why = on_cpu ? why_auto_is_cpu() : ""; !why.empty())
        notes.push_back("no GPU is used: " + why);
    return notes;
}

void save_options(const BaseOptions& options, nlohmann::ordered_json& to) {
    to["model"] = options.model;
    to["quant"] = option_text(kQuantNames, options.quant);
    to["quant_block"] = options.quant_spec.block;
    to["double_quant"] = options.quant_spec.double_quant;
    to["quant_only_adapted"] = options.quant_only_adapted;
    to["compute_dtype"] = option_text(kComputeDTypes, options.compute_dtype);
    to["tf32"] = options.tf32;
    to["lift_f32"] = options.lift_f32;
    to["device"] = options.device;
    to["threads"] = options.threads;
    to["gpu_memory"] = options.gpu_memory;
}

}  // namespace ggq
