// Flags that tables of several programs have.
#pragma once

#include <vector>

#include "examples/support/cli.h"
#include "models/adapted_model.h"
#include "models/base_options.h"

namespace ggq {

void machine_flags(FlagTable& table, BaseOptions& options);
void model_flag(FlagTable& table, BaseOptions& options);  // required
void adapter_flag(FlagTable& table, std::vector<AdapterChoice>& adapters);

}  // namespace ggq
