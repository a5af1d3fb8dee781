// Adapters in the forms of several programs. In memory they are all PEFT's (models/adapter_files.h).
//
//   peft   a folder with adapter_config.json and adapter_model.safetensors
//   mlx    a folder with adapter_config.json and adapters.safetensors, of mlx-lm
//   gguf   a file of llama.cpp
#pragma once

#include <filesystem>
#include <string>

#include "models/adapter_files.h"
#include "models/config.h"
#include "models/option_table.h"

namespace ggq {

enum class AdapterForm : uint8_t { peft, mlx, gguf };

inline constexpr OptionName<AdapterForm> kAdapterForms[] = {
    {AdapterForm::peft, "peft"},
    {AdapterForm::mlx, "mlx"},
    {AdapterForm::gguf, "gguf"},
};

// By the files that are there.
AdapterForm form_of_adapter(const std::filesystem::path& path);

// Of any form. `base` is the configuration of its model; without one an adapter of llama.cpp is refused, since its rows
// are in an order that depends on it.
Adapter open_adapter(const std::filesystem::path& path, const LlamaConfig* base, const StopAsked& stop = {});

// How far two adapters are apart: the largest difference of an element of A, of scale * B and of the magnitudes,
// relative to the largest element of that tensor. A module that one lacks, or other shapes, are infinitely far. Ranks
// may differ where what is more is zero.
double adapter_distance(const Adapter& one, const Adapter& other);

}  // namespace ggq
