// The numbers of a LoRA adapter: fresh ones as PEFT makes them, or those of an adapter folder.
#pragma once

#include <string>

#include "models/adapter_files.h"
#include "models/llama.h"

namespace ggq {

// A uniform in +-1/sqrt(in), which is Kaiming's with a = sqrt(5); B zero.
void fill_new_adapter(Store& store, const Llama& llama, uint64_t seed);

// Refuses, by module: tensors of the adapter that the model does not use, adapted layers that it lacks, other shapes.
void check_adapter(const Llama& llama, const Adapter& adapter, const std::string& where);

// A checked adapter into an allocated model, from any float dtype.
void load_adapter(Store& store, const Llama& llama, const Adapter& adapter);

}  // namespace ggq
