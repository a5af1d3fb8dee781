#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "models/convert/adapter_math.h"
#include "models/convert/mlx_adapter.h"
#include "models/convert/module_names.h"

namespace ggq {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

double one_scale(const Adapter& adapter) {
    std::set<double> scales;
    for (const auto& [module, t] : adapter.modules) scales.insert(lora_scale(module, adapter.config));
    return scales.size() == 1 ? *scales.begin() : 1;
}

int64_t largest_rank(const Adapter& adapter) {
    int64_t r = 1;
    for (const auto& [module, t] : adapter.modules) r = std::max(r, t.a.shape[0]);
    return r;
}

ordered_json config_json(const Adapter& adapter, int64_t rank, double scale) {
    std::set<std::string> keys;
    for (const auto& [module, t] : adapter.modules) keys.insert(split_layer(module).second);
    return {
        {"fine_tune_type", adapter.config.use_dora ? "dora" : "lora"},
        {"model", adapter.config.base_model},
        {"num_layers", -1},
        {"lora_parameters", {{"rank", rank}, {"scale", scale}, {"dropout", adapter.config.dropout}, {"keys", keys}}}};
}

}  // namespace

void write_mlx_adapter(const fs::path& folder, const Adapter& adapter) {
    require(adapter.whole.empty(),
            "{}: has {} as a whole, which an adapter of mlx-lm cannot hold; merge it into its base",
            adapter.file.string(), adapter.whole.empty() ? "" : adapter.whole.begin()->first);
    const int64_t r = largest_rank(adapter);
    const double scale = one_scale(adapter);
    TensorMemory memory;
    FileTensors tensors;
    for (const auto& [module, t] : adapter.modules) {
        const double own = lora_scale(module, adapter.config);
        const FileTensor b = own == scale ? t.b : scaled(t.b, own / scale, memory);
        tensors[module + ".lora_a"] = memory.transposed(memory.padded(t.a, r, t.a.shape[1]));
        tensors[module + ".lora_b"] = memory.transposed(memory.padded(b, b.shape[0], r));
        if (t.magnitude.data) tensors[module + ".m"] = t.magnitude;
    }
    write_safetensors(folder / kMlxTensorFile, tensors, {{"format", "mlx"}});
    write_file(folder / kAdapterConfigFile, config_json(adapter, r, scale).dump(4) + "\n");
}

}  // namespace ggq
