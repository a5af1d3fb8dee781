// The facts of a card, and the choices made for it, on which sizes of workspace and choices of algorithm may depend:
// those and the shapes of a call, nothing else, so that the same call always computes the same bits. No header of CUDA
// is needed to plan for a card.
#pragma once

#include <cstdint>

#include "kernels/cuda/tuning.h"

namespace ggq::cuda {

struct Device {
    int index = 0;
    int capability = 0;  // 10 * major + minor: 90 for an H100
    int n_sms = 0;
    int64_t shared_bytes = 0;  // that a block may ask for
    bool hopper = false;       // of 9.0, and the forms for it are built in and not switched off
    Tuning tuning = {};

    bool has_bf16() const { return capability >= 80; }  // in the tensor cores
};

}  // namespace ggq::cuda
