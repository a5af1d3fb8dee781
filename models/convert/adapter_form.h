// Adapters in the forms of several programs. In memory they are all PEFT's (models/adapter_files.h).
//
//   peft   a folder with adapter_config.json and adapter_model.safetensors
//   mlx    a folder with adapter_config.json and adapters.safetensors, of mlx-lm
#pragma once

#include <filesystem>
#include <string>

#include "models/adapter_files.h"
#include "models/config.h"
#include "models/option_table.h"

namespace ggq {

enum class AdapterForm : uint8_t { peft, mlx };

inline constexpr OptionName<AdapterForm> kAdapterForms[] = {
    {AdapterForm::peft, "peft"},
    {AdapterForm::mlx, "mlx"},
};

// By the files that are there.
AdapterForm form_of_adapter(const std::filesystem::path& path);

// Of any form.
Adapter open_adapter(const std::filesystem::path& path, const StopAsked& stop = {});

// How far two adapters are apart: the largest difference of an element of A, of scale * B and of the magnitudes,
// relative to the largest element of that tensor. A module that one lacks, or other shapes, are infinitely far. Ranks
// may differ where what is more is zero.
double adapter_distance(const Adapter& one, const Adapter& other);

}  // namespace ggq
