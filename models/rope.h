// How rotary frequencies are read of config.json and written to it (RopeConfig is in config.h).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ggq/io/json_fields.h"
#include "models/config.h"

namespace ggq {

// `max_positions` is max_position_embeddings. Throws Error for a kind that is not known.
RopeConfig read_rope(const JsonFields& fields, int64_t max_positions, std::vector<std::string>& warnings);

// As rope_scaling has it; null for the plain kind.
nlohmann::json rope_json(const RopeConfig& rope);

}  // namespace ggq
