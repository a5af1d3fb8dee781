#include "models/base_options.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "ggq/device.h"
#include "ggq/error.h"
#include "ggq/gpu_file.h"
#include "models/option_checks.h"
#include "models/option_names.h"

namespace ggq {

namespace {

constexpr int64_t kMostThreads = 1024;

// What the checkpoint does not have cannot be had of it.
void refuse_wish(bool refused, const char* option, const std::string& wish, const QuantForm& stored) {
    require(!refused,
            "`{}` {}: the checkpoint is already quantized as {}; leave the option away, or take the checkpoint from "
            "before it was quantized",
            option, wish, describe(stored));
}

}  // namespace

void validate(const BaseOptions& options) {
    gpu_of(options.device);
    gpu_memory_bytes(options);
    require_not_negative("threads", static_cast<int64_t>(options.threads));
    require_at_most("threads", options.threads, kMostThreads);
    require(is_quant_block(options.quant_spec.block), "`quant_block`: expected 64, 128 or 256, got {}",
            options.quant_spec.block);
}

void take_stored_form(BaseOptions& options, const std::optional<QuantForm>& stored) {
    if (!stored) return;
    const QuantWishes& given = options.given;
    const QuantSpec wish = options.quant_spec;
    refuse_wish(given.quant && options.quant != stored->dtype, "quant", option_text(kQuantNames, options.quant),
                *stored);
    refuse_wish(given.block && wish.block != stored->spec.block, "quant_block", std::to_string(wish.block), *stored);
    refuse_wish(given.double_quant && wish.double_quant != stored->spec.double_quant, "double_quant",
                wish.double_quant ? "true" : "false", *stored);
    refuse_wish(given.only_adapted && options.quant_only_adapted, "quant_only_adapted", "true", *stored);
    options.quant = stored->dtype;
    options.quant_spec = stored->spec;
    options.quant_only_adapted = false;
    options.quantized_in_checkpoint = true;
}

void take_packed_form(BaseOptions& options) {
    const QuantWishes& given = options.given;
    if (given.quant) return;
    require(!given.any(),
            "`quant_block`, `double_quant` and `quant_only_adapted` say nothing of weights that are held as in the "
            "GGUF file; name the format to hold them in with `quant`");
    options.quant = std::nullopt;
}

namespace {

// What of the file was not taken, and whether it is of another card.
void note_gpu_table(const std::string& path, const Backend& backend, std::vector<std::string>& notes) {
    const GpuFile file = read_gpu_file(path);
    notes.insert(notes.end(), file.ignored.begin(), file.ignored.end());
    if (backend.description().find(file.model.part) == std::string::npos)
        notes.push_back(fmt::format("`gpu_table` {}: was measured on {}, this is {}", path, file.model.part,
                                    backend.description()));
}

}  // namespace

int64_t gpu_memory_bytes(const BaseOptions& options) {
    return options.gpu_memory.empty() ? 0 : memory_size("gpu_memory", options.gpu_memory);
}

std::string memory_cap(const BaseOptions& options) {
    return options.gpu_memory.empty() ? "" : " (`gpu_memory` " + options.gpu_memory + ")";
}

std::unique_ptr<Backend> make_backend(const BaseOptions& options) {
    DeviceOptions o{.device = options.device,
                    .threads = options.threads,
                    .gpu_memory = gpu_memory_bytes(options),
                    .tf32 = options.tf32,
                    .pager = options.pager};
    take_gpu_table(o, options.gpu_table);
    return make_backend(o);
}

std::vector<std::string> settle_device(BaseOptions& options, const Backend& backend) {
    const std::optional<DType> wish = options.compute_dtype;
    const bool on_cpu = backend.reads_host_memory();
    options.compute_dtype = on_cpu ? DType::f32 : wish.value_or(backend.compute_dtype());
    std::vector<std::string> notes;
    if (wish && *wish != *options.compute_dtype)
        notes.push_back("`compute_dtype` " + option_text(kComputeDTypes, wish) +
                        " runs as f32: the CPU computes in nothing else");
    if (on_cpu && !options.gpu_memory.empty()) notes.emplace_back("`gpu_memory` says nothing to the CPU");
    if (on_cpu && options.tf32) notes.emplace_back("`tf32` says nothing to the CPU");
    if (on_cpu && !options.gpu_table.empty()) notes.emplace_back("`gpu_table` says nothing to the CPU");
    if (!on_cpu && !options.gpu_table.empty()) note_gpu_table(options.gpu_table, backend, notes);
    if (options.device != "auto") return notes;
    options.device = backend.name();
    if (const std::string why = on_cpu ? why_auto_is_cpu() : ""; !why.empty())
        notes.push_back("no GPU is used: " + why);
    return notes;
}

void save_options(const BaseOptions& options, nlohmann::ordered_json& to) {
    to["model"] = options.model;
    write_form(options, to);
    to["tf32"] = options.tf32;
    to["device"] = options.device;
    to["threads"] = options.threads;
    to["gpu_memory"] = options.gpu_memory;
    to["gpu_table"] = options.gpu_table;
    to["pager"] = option_text(kPagers, options.pager);
}

}  // namespace ggq
