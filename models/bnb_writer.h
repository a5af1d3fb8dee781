// Writing what models/bnb_4bit.h reads: linears as bitsandbytes stores them, so that transformers loads the folder.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ggq/buffer.h"
#include "ggq/io/sharded_writer.h"
#include "models/base_form.h"
#include "models/weights.h"

namespace ggq {

// The tensors that a linear of this form becomes.
TensorGroup bnb_group(const WeightRow& row, const QuantForm& form);

// Codes and scales of a quantized buffer as they are. `original`: of the weight before.
void write_bnb_weight(ShardedWriter& to, const WeightRow& row, const Store& store, const Buffer& weight,
                      DType original);

// The quantization_config of config.json. `plain`: modules that were left as they are, beside the head.
nlohmann::json bnb_config_json(const QuantForm& form, DType compute, const std::vector<std::string>& plain);

}  // namespace ggq
