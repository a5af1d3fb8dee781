// A card that is not there, to plan for: it says what a run would take and runs nothing.
#pragma once

#include <memory>
#include <string>

#include "ggq/backend.h"

namespace ggq {

// `gpu` is as gpu_model() takes it (ggq/gpu_table.h); `memory_bytes` is the most to hold on it, overhead included, 0:
// all it has; `migrates`: pages move as unified memory. Throws Error for an unknown name.
std::unique_ptr<Backend> make_planning_backend(const std::string& gpu, int64_t memory_bytes = 0, bool migrates = false);

}  // namespace ggq
