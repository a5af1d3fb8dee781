// What of a config.json depends on the family of the model (families.h).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ggq/io/json_fields.h"
#include "models/config.h"

namespace ggq {

// By architectures and model_type, which have to go together. Throws Error for a family that is not known.
const FamilyRow& read_family(const JsonFields& fields);

// Biases, norms and the sliding window, once the sizes are there and checked. `content` is what `fields` reads.
void read_family_parts(const JsonFields& fields, const nlohmann::json& content, const FamilyRow& row,
                       LlamaConfig& config);

// The keys that say which layers slide; empty for a family whose layers never do.
nlohmann::json window_json(const LlamaConfig& config);

// What a Llama 2 or 3 does not have, for function_text(); empty for one, whose texts are older than this.
std::string family_text(const LlamaConfig& config);

}  // namespace ggq
