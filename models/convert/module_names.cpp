#include "models/convert/module_names.h"

#include <set>

namespace ggq {

std::pair<std::string, std::string> split_layer(const std::string& module) {
    constexpr std::string_view kLayers = ".layers.";
    const size_t at = module.find(kLayers);
    if (at == std::string::npos) return {"", module};
    const size_t begin = at + kLayers.size(), dot = module.find('.', begin);
    const std::string layer = module.substr(begin, dot - begin);
    const bool number = !layer.empty() && layer.size() < 10 && layer.find_first_not_of("0123456789") == layer.npos;
    if (dot == std::string::npos || !number) return {"", module};
    return {layer, module.substr(dot + 1)};
}

void target_exactly(const LoraModules& modules, LoraConfig& config) {
    std::set<int64_t> layers;
    std::set<std::string> ends;
    bool all_in_layers = true;
    for (const auto& [module, t] : modules) {
        const auto [layer, end] = split_layer(module);
        all_in_layers &= !layer.empty();
        if (!layer.empty()) layers.insert(std::stoll(layer));
        ends.insert(end.substr(end.rfind('.') + 1));
    }
    config.target_pattern.clear();
    config.layers_to_transform.clear();
    config.target_modules.clear();
    if (all_in_layers && layers.size() * ends.size() == modules.size()) {
        config.target_modules.assign(ends.begin(), ends.end());
        config.layers_to_transform.assign(layers.begin(), layers.end());
        return;
    }
    for (const auto& [module, t] : modules) config.target_modules.push_back(module);
}

}  // namespace ggq
