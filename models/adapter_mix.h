// Several adapters at once, each with a scale of its own: what they add to a linear is one product with their As on top
// of each other, [r1 + r2 + ..., in], and their Bs side by side, each times its scale.
#pragma once

#include <vector>

#include "models/merge/weight_update.h"

namespace ggq {

// Plain LoRA of all of them as one adapter in f32, whose scale is 1. Throws Error, by module, where two do not belong
// to one model. What is recorded of a base is the first one's.
Adapter mix_adapters(const std::vector<ScaledAdapter>& adapters);

}  // namespace ggq
