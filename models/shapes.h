// The shapes of known Llamas by name, to plan and to measure without a checkpoint.
#pragma once

#include <string>

#include "models/config.h"

namespace ggq {

// "llama3-8b, ..., or hidden:intermediate:layers:heads:kv-heads:head-size:vocabulary"
std::string shape_list();

// The configuration of a named shape, or of one that is spelled out. Throws Error for another text.
LlamaConfig config_of_shape(const std::string& text, int64_t n_positions);

}  // namespace ggq
