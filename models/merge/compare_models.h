// Two models that are in memory together, over all micro-batches of some text.
#pragma once

#include "models/adapted_model.h"
#include "models/merge/comparison.h"

namespace ggq {

struct HeldModel {
    const AdaptedModel& model;
    BaseForm form;
};

// Throws Error where the memory does not hold both, and Interrupted.
Comparison compare_models(Backend& backend, const HeldModel& reference, const HeldModel& other, const Batches& batches,
                          const StopAsked& stop = {});

}  // namespace ggq
