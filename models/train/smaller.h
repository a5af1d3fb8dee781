// What to do about a run that has no room: the settings that take less memory, in the order in which guides to QLoRA
// answer "out of memory", the least loss first.
#pragma once

#include <functional>
#include <string>

#include "models/train/options.h"

namespace ggq {

// "it would fit with `max_length` 256, which cuts longer samples", or that nothing of the kind would do, for a run of
// `options` that is short of `missing` bytes. Each setting is tried on top of those before it, and left out where it
// takes nothing off. `missing_bytes` says how much a run of other options is short of; 0: it fits.
std::string smaller_settings(TrainOptions options, int64_t missing,
                             const std::function<int64_t(const TrainOptions&)>& missing_bytes);

}  // namespace ggq
