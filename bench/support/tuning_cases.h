// The calls by which each choice among kernels (kernels/cuda/tuning.h) is measured.
#pragma once

#include <string>
#include <vector>

#include "bench/support/shapes.h"

namespace ggq::bench {

// Over weights of these shapes; those of a choice that no shape concerns are none. Heads are those of 8B and 1B.
// Throws Error for a name that has no cases.
Cases tuning_cases(const std::string& choice, const Scale& scale, const std::vector<Linear>& shapes);

}  // namespace ggq::bench
