#include "models/convert/mlx_adapter.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "ggq/tensor.h"
#include "models/convert/module_names.h"
#include "models/convert/tensor_memory.h"

namespace ggq {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// The file, and what of it stands otherwise in memory.
struct MlxMemory {
    explicit MlxMemory(const fs::path& path) : file(path) {}

    SafetensorsFile file;
    TensorMemory made;
};

struct MlxConfig {
    int64_t rank = 8;
    double scale = 20, dropout = 0;
    bool dora = false;
    std::string model;
};

MlxConfig read_config_file(const fs::path& path) {
    const json content = parse_json(read_side_file(path), path.string());
    const JsonFields fields(content, path.string());
    const std::string kind = fields.text_or("fine_tune_type", fields.flag_or("use_dora", false) ? "dora" : "lora");
    require(kind == "lora" || kind == "dora", "{}: fine_tune_type '{}' is not supported; known are lora and dora",
            path.string(), shown(kind));
    MlxConfig config;
    config.dora = kind == "dora";
    config.model = fields.text_or("model", "");
    const json* section = fields.find("lora_parameters");
    if (!section) fields.refuse("lora_parameters", "an object with rank and scale");
    const JsonFields lora(*section, path.string() + ", lora_parameters");
    config.rank = lora.count_or("rank", config.rank);
    config.scale = lora.positive_or("scale", config.scale);
    if (const json* dropout = lora.find("dropout")) {
        const bool share = dropout->is_number() && dropout->get<double>() >= 0 && dropout->get<double>() < 1;
        if (!share) lora.refuse("dropout", "a share below 1");
        config.dropout = dropout->get<double>();
    }
    return config;
}

bool is_table(const std::string& module) { return module.ends_with("embed_tokens"); }

void put(const std::string& name, const FileTensor& t, MlxMemory& memory, LoraModules& modules) {
    const std::string where = memory.file.path().string();
    const size_t dot = name.rfind('.');
    const std::string end = dot == std::string::npos ? "" : name.substr(dot + 1), module = name.substr(0, dot);
    const bool is_pair = end == "lora_a" || end == "lora_b";
    require(!module.empty() && (is_pair || end == "m"),
            "{}: tensor '{}' is neither a lora_a nor a lora_b of a layer; it is not supported", where, shown(name));
    require(info(t.dtype).floating && t.shape.rank == (is_pair ? 2 : 1), "{}: '{}' is {}{}; expected floats", where,
            shown(name), ggq::name(t.dtype), to_string(t.shape));
    LoraTensors& pair = modules[module];
    pair.is_table = is_table(module);
    if (end == "m") pair.magnitude = t;
    else (end == "lora_a" ? pair.a : pair.b) = memory.made.transposed(t);
}

void check(const LoraModules& modules, const MlxConfig& config, const std::string& where) {
    require(!modules.empty(), "{}: holds no tensor", where);
    for (const auto& [module, pair] : modules) {
        require(pair.a.data && pair.b.data, "{}: '{}' has only one of lora_a and lora_b", where, shown(module));
        require(pair.a.shape[0] == config.rank && pair.b.shape[1] == config.rank,
                "{}: '{}' has lora_a [{}, {}] and lora_b [{}, {}], but adapter_config.json says rank {}", where,
                shown(module), pair.a.shape[1], pair.a.shape[0], pair.b.shape[1], pair.b.shape[0], config.rank);
        require((pair.magnitude.data != nullptr) == config.dora &&
                    (!config.dora || pair.magnitude.shape[0] == pair.b.shape[0]),
                "{}: the magnitude 'm' of '{}' is {}", where, shown(module),
                pair.magnitude.data ? "of another size, or not DoRA's" : "missing");
    }
}

}  // namespace

Adapter read_mlx_adapter(const fs::path& folder) {
    require(is_there(folder / kAdapterConfigFile), "{} is no adapter folder: {} is missing", folder.string(),
            kAdapterConfigFile);
    const MlxConfig config = read_config_file(folder / kAdapterConfigFile);
    const auto memory = std::make_shared<MlxMemory>(folder / kMlxTensorFile);
    Adapter adapter;
    for (const auto& [name, t] : memory->file.tensors()) put(name, t, *memory, adapter.modules);
    check(adapter.modules, config, memory->file.path().string());
    adapter.config.r = config.rank;
    adapter.config.alpha = config.scale * static_cast<double>(config.rank);
    adapter.config.dropout = config.dropout;
    adapter.config.use_dora = config.dora;
    adapter.config.base_model = config.model;
    target_exactly(adapter.modules, adapter.config);
    adapter.file = memory->file.path();
    adapter.memory = memory;
    return adapter;
}

}  // namespace ggq
