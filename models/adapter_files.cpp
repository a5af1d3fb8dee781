#include "models/adapter_files.h"

#include <algorithm>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/input_file.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "ggq/tensor.h"
#include "models/text/special_tokens.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kTensorFile = "adapter_model.safetensors";
constexpr const char* kPickledFile = "adapter_model.bin";
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kEndA = ".lora_A.weight";
constexpr std::string_view kEndB = ".lora_B.weight";
constexpr std::string_view kWeight = ".weight";

fs::path tensor_path(const fs::path& folder) {
    require(is_folder(folder), "the adapter folder {} is not there", folder.string());
    const bool has_tensors = is_there(folder / kTensorFile);
    require(
        has_tensors || !is_there(folder / kPickledFile),
        "{} holds its adapter only as {}, which cannot be read safely; load and save it with a current PEFT to get {}",
        folder.string(), kPickledFile, kTensorFile);
    for (const char* file : {kTensorFile, kAdapterConfigFile})
        require(is_there(folder / file), "{} is no adapter folder: {} is missing", folder.string(), file);
    return folder / kTensorFile;
}

// What the name of a tensor says: "base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight".
struct LoraName {
    std::string module;   // "model.layers.0.mlp.up_proj"
    std::string adapter;  // "default", which PEFT leaves out when it saves
    bool is_a = false;
};

std::optional<LoraName> split_name(std::string_view name) {
    if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
    if (!name.ends_with(kWeight)) return std::nullopt;
    std::string adapter;
    std::string_view stem = name.substr(0, name.size() - kWeight.size());
    if (!stem.ends_with(".lora_A") && !stem.ends_with(".lora_B")) {
        const size_t dot = std::min(stem.rfind('.'), stem.size());
        adapter = stem.substr(std::min(dot + 1, stem.size()));
        stem = stem.substr(0, dot);
    }
    const std::string plain = std::string(stem) + std::string(kWeight);
    for (const std::string_view end : {kEndA, kEndB})
        if (plain.size() > end.size() && plain.ends_with(end))
            return LoraName{plain.substr(0, plain.size() - end.size()), adapter, end == kEndA};
    return std::nullopt;
}

void check_pair(const std::string& module, const LoraTensors& pair, const LoraConfig& config,
                const std::string& where) {
    require(pair.a.data != nullptr, "{}: '{}' has a lora_B but no lora_A", where, shown(module));
    require(pair.b.data != nullptr, "{}: '{}' has a lora_A but no lora_B", where, shown(module));
    for (const FileTensor* t : {&pair.a, &pair.b})
        require(info(t->dtype).floating && t->shape.rank == 2,
                "{}: a LoRA tensor of '{}' is {}{}; expected a float matrix", where, shown(module), name(t->dtype),
                to_string(t->shape));
    const int64_t r = lora_rank(module, config);
    require(pair.a.shape[0] == r && pair.b.shape[1] == r, "{}: '{}' has lora_A {} and lora_B {}, but {} says rank {}",
            where, shown(module), to_string(pair.a.shape), to_string(pair.b.shape), kAdapterConfigFile, r);
}

LoraModules collect_modules(const SafetensorsFile& file, const LoraConfig& config) {
    const std::string where = file.path().string();
    LoraModules modules;
    std::optional<std::string> adapter;
    for (const auto& [name, tensor] : file.tensors()) {
        const auto split = split_name(name);
        if (!split)
            fail("{}: tensor '{}' is neither a lora_A nor a lora_B of a linear layer; it is not supported", where,
                 shown(name));
        if (!adapter) adapter = split->adapter;
        require(*adapter == split->adapter, "{}: holds tensors of two adapters, '{}' and '{}'; save one alone", where,
                shown(*adapter), shown(split->adapter));
        LoraTensors& pair = modules[split->module];
        FileTensor& place = split->is_a ? pair.a : pair.b;
        require(place.data == nullptr, "{}: tensor '{}' is there twice, with and without '{}'", where, shown(name),
                kPrefix);
        place = tensor;
    }
    require(!modules.empty(), "{}: holds no tensor", where);
    for (const auto& [module, pair] : modules) check_pair(module, pair, config, where);
    return modules;
}

}  // namespace

Adapter read_adapter(const fs::path& folder, const StopAsked& stop) {
    const fs::path tensors = tensor_path(folder);
    const bool checked = check_recorded_files(folder, stop);
    const fs::path config_path = folder / kAdapterConfigFile;
    LoraConfig config = parse_lora_config(read_side_file(config_path), config_path.string());
    SafetensorsFile file(tensors);
    LoraModules modules = collect_modules(file, config);
    return {std::move(config), std::move(file), std::move(modules), read_base_record(folder), checked};
}

void write_adapter(const fs::path& folder, const LoraConfig& config, const LoraModules& modules,
                   const std::optional<BaseRecord>& base) {
    FileTensors tensors;
    std::vector<std::string> names;
    for (const auto& [module, pair] : modules) {
        const std::string stem = std::string(kPrefix) + module;
        tensors[stem + std::string(kEndA)] = pair.a;
        tensors[stem + std::string(kEndB)] = pair.b;
        names.push_back(module);
    }
    write_file(folder / kAdapterConfigFile, lora_config_text(config, names));
    write_safetensors(folder / kTensorFile, tensors);
    if (base) write_base_record(folder, *base, record_files(folder, {kAdapterConfigFile, kTensorFile}));
}

std::vector<std::string> files_of_own_adapter(const fs::path& folder) {
    if (!is_there(folder / kBaseRecordFile)) return {};
    std::vector<std::string> names = {kAdapterConfigFile, kTensorFile};
    names.insert(names.end(), std::begin(kTokenizerFiles), std::end(kTokenizerFiles));
    names.emplace_back(kBaseRecordFile);
    return names;
}

void check_tokenizer_files(const fs::path& folder) {
    for (const char* name : kTokenizerFiles)
        if (is_there(folder / name)) {
            refuse_link_out(folder / name);
            const InputFile can_be_read(folder / name);
        }
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
    for (const char* name : kTokenizerFiles) copy_if_there(from / name, to / name);
}

}  // namespace ggq
