// What the names of an adapter's modules say.
#pragma once

#include <string>
#include <utility>

#include "models/adapter_files.h"

namespace ggq {

// "model.layers.7.mlp.up_proj" -> "7" and "mlp.up_proj"; of other modules no layer.
std::pair<std::string, std::string> split_layer(const std::string& module);

// Has a configuration target these modules and no others, of a model of any number of layers.
void target_exactly(const LoraModules& modules, LoraConfig& config);

}  // namespace ggq
