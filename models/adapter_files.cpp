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
constexpr std::string_view kWeight = ".weight";

// What a tensor is of its module, as the end of its name says.
enum class Part : uint8_t { a, b, magnitude, table_a, table_b, whole };

constexpr struct {
    std::string_view end;
    Part part;
    std::string_view tail;  // as PEFT writes it; read is also what has none
    bool needs_tail;
} kParts[] = {
    {".lora_A", Part::a, kWeight, true},
    {".lora_B", Part::b, kWeight, true},
    {".lora_magnitude_vector", Part::magnitude, "", false},
    {".lora_embedding_A", Part::table_a, "", false},
    {".lora_embedding_B", Part::table_b, "", false},
};

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
struct TensorName {
    std::string module;   // "model.layers.0.mlp.up_proj"
    std::string adapter;  // "default", which PEFT leaves out when it saves
    Part part = Part::whole;
};

bool is_one_name(std::string_view text) { return text.find('.') == std::string_view::npos; }

// A module as a whole: "lm_head.weight", "lm_head.modules_to_save.default.weight" or "embed_tokens.base_layer.weight".
// PEFT saves embedding and head unasked where a vocabulary was resized.
std::optional<TensorName> split_whole(std::string_view name, const LoraConfig& config) {
    if (!name.ends_with(kWeight)) return std::nullopt;
    std::string_view module = name.substr(0, name.size() - kWeight.size());
    constexpr std::string_view kBase = ".base_layer", kSaved = ".modules_to_save.";
    if (module.ends_with(kBase)) module.remove_suffix(kBase.size());
    if (const size_t at = module.find(kSaved); at != std::string_view::npos) {
        if (!is_one_name(module.substr(at + kSaved.size()))) return std::nullopt;
        module = module.substr(0, at);
    }
    const bool known =
        module == "lm_head" || module == "model.embed_tokens" || is_saved_module(std::string(module), config);
    return known ? std::optional(TensorName{std::string(module), "", Part::whole}) : std::nullopt;
}

std::optional<TensorName> split_name(std::string_view name, const LoraConfig& config) {
    if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
    for (const auto& row : kParts) {
        const size_t at = name.rfind(row.end);
        if (at == std::string_view::npos || at == 0) continue;
        std::string_view rest = name.substr(at + row.end.size());
        const bool has_tail = rest.ends_with(kWeight);
        if (has_tail) rest.remove_suffix(kWeight.size());
        if (row.needs_tail && !has_tail) continue;
        if (!rest.empty() && (rest[0] != '.' || !is_one_name(rest.substr(1)))) continue;
        return TensorName{std::string(name.substr(0, at)), std::string(rest.substr(rest.empty() ? 0 : 1)), row.part};
    }
    return split_whole(name, config);
}

void check_magnitude(const std::string& module, const LoraTensors& pair, const LoraConfig& config,
                     const std::string& where) {
    const FileTensor& m = pair.magnitude;
    require((m.data != nullptr) == config.use_dora, "{}: '{}' has {} lora_magnitude_vector, but {} says use_dora = {}",
            where, shown(module), m.data ? "a" : "no", kAdapterConfigFile, config.use_dora);
    require(!m.data || (info(m.dtype).floating && m.shape.n_elems() == pair.b.shape[0]),
            "{}: the lora_magnitude_vector of '{}' is {}{}; expected {} floats", where, shown(module), name(m.dtype),
            to_string(m.shape), pair.b.shape[0]);
    require(!m.data || !pair.is_table, "{}: DoRA of the embedding '{}' is not supported", where, shown(module));
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
    check_magnitude(module, pair, config, where);
}

// The tensors of an adapter's file, each put where it belongs.
class Collector {
public:
    Collector(const LoraConfig& config, std::string where) : config_(config), where_(std::move(where)) {}

    void add(const std::string& name, const FileTensor& tensor) {
        const auto split = split_name(name, config_);
        if (!split)
            fail("{}: tensor '{}' is neither a lora_A nor a lora_B of a linear layer; it is not supported", where_,
                 shown(name));
        if (split->part != Part::whole) check_adapter_name(split->adapter);
        FileTensor& place = place_of(*split);
        require(place.data == nullptr, "{}: tensor '{}' is there twice, with and without '{}'", where_, shown(name),
                kPrefix);
        place = tensor;
        if (split->part == Part::table_a || split->part == Part::table_b) modules[split->module].is_table = true;
    }

    void check() const {
        require(!modules.empty() || !whole.empty(), "{}: holds no tensor", where_);
        for (const auto& [module, pair] : modules) check_pair(module, pair, config_, where_);
        for (const auto& [module, t] : whole)
            require(info(t.dtype).floating, "{}: '{}' is {}; expected floats", where_, shown(module), name(t.dtype));
    }

    LoraModules modules;
    FileTensors whole;

private:
    void check_adapter_name(const std::string& name) {
        if (!adapter_) adapter_ = name;
        require(*adapter_ == name, "{}: holds tensors of two adapters, '{}' and '{}'; save one alone", where_,
                shown(*adapter_), shown(name));
    }

    FileTensor& place_of(const TensorName& name) {
        if (name.part == Part::whole) return whole[name.module];
        LoraTensors& pair = modules[name.module];
        if (name.part == Part::magnitude) return pair.magnitude;
        return name.part == Part::a || name.part == Part::table_a ? pair.a : pair.b;
    }

    const LoraConfig& config_;
    std::string where_;
    std::optional<std::string> adapter_;
};

void add_tensors(const std::string& module, const LoraTensors& pair, FileTensors& to) {
    for (const auto& row : kParts) {
        const bool of_table = row.part == Part::table_a || row.part == Part::table_b;
        if (row.part == Part::magnitude ? !pair.magnitude.data : of_table != pair.is_table) continue;
        const bool is_a = row.part == Part::a || row.part == Part::table_a;
        const FileTensor& t = row.part == Part::magnitude ? pair.magnitude : is_a ? pair.a : pair.b;
        to[std::string(kPrefix) + module + std::string(row.end) + std::string(row.tail)] = t;
    }
}

}  // namespace

bool is_plain_lora(const Adapter& adapter) {
    const auto within_layer = [](const std::string& module) { return module.find(".layers.") != std::string::npos; };
    return adapter.whole.empty() && !adapter.config.use_dora &&
           std::ranges::all_of(adapter.modules, [&](const auto& m) { return within_layer(m.first); });
}

Adapter read_adapter(const fs::path& folder, const StopAsked& stop) {
    const fs::path tensors = tensor_path(folder);
    const bool checked = check_recorded_files(folder, stop);
    const fs::path config_path = folder / kAdapterConfigFile;
    LoraConfig config = parse_lora_config(read_side_file(config_path), config_path.string());
    const auto file = std::make_shared<SafetensorsFile>(tensors);
    Collector found(config, tensors.string());
    for (const auto& [name, tensor] : file->tensors()) found.add(name, tensor);
    found.check();
    LoraModules modules = std::move(found.modules);
    FileTensors whole = std::move(found.whole);
    return {std::move(config), tensors, std::move(modules), std::move(whole), read_base_record(folder), checked, file};
}

void write_adapter(const fs::path& folder, const LoraConfig& config, const LoraModules& modules,
                   const std::optional<BaseRecord>& base, const FileTensors& whole) {
    FileTensors tensors;
    std::vector<std::string> names;
    for (const auto& [module, pair] : modules) {
        add_tensors(module, pair, tensors);
        names.push_back(module);
    }
    for (const auto& [module, t] : whole) tensors[std::string(kPrefix) + module + std::string(kWeight)] = t;
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
