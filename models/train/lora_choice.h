// From what a user says of the adapter to PEFT's configuration of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/lora_config.h"
#include "models/train/options.h"

namespace ggq {

// "8": the last 8 of n_layers; "4-7,12": layers 4 to 7 and 12, counted from 0; "" or "-1": all, which is an empty list.
std::vector<int64_t> parse_layers(const std::string& text, int64_t n_layers);

// Targets are all-linear, a list of names with commas between them, or else a regular expression over whole names.
LoraConfig lora_config_of(const TrainOptions& options, int64_t n_layers);

}  // namespace ggq
