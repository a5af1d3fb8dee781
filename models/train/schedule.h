// The learning rate of an update: warm-up to the peak in a straight line, then constant, linear or cosine decay.
//
// Update `step` counts from 0. With w warm-up updates of n in all:
//   step < w   lr * (step + 1) / w                                  so that the first update moves already
//   else       lr_min + (lr - lr_min) * left, p = (step - w) / (n - w):
//              left = 1 (constant), 1 - p (linear), (1 + cos(pi p)) / 2 (cosine)
// The decay is that of transformers' get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "models/option_names.h"

namespace ggq {

struct LrSchedule {
    LrScheduler kind = LrScheduler::linear;
    double lr = 2e-4;
    double lr_min = 0;
    int64_t warmup_steps = 0;
    int64_t total_steps = 1;

    double at(int64_t step) const {
        if (step < warmup_steps) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
        if (kind == LrScheduler::constant) return lr;
        const auto n_decay = static_cast<double>(std::max<int64_t>(total_steps - warmup_steps, 1));
        const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) / n_decay);
        const double left =
            kind == LrScheduler::linear ? 1 - progress : (1 + std::cos(std::numbers::pi * progress)) / 2;
        return lr_min + (lr - lr_min) * left;
    }
};

inline int64_t warmup_steps_of(double warmup_ratio, int64_t total_steps) {
    return static_cast<int64_t>(std::ceil(warmup_ratio * static_cast<double>(total_steps)));
}

}  // namespace ggq
