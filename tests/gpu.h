// The devices that tests run on.
#pragma once

#include <vector>

#include "ggq/backend.h"

namespace ggq::test {

// One GPU backend for all tests of a run; null, counted as skipped with the reason, where there is no GPU.
Backend* require_gpu();

// The CPU, and a GPU if there is one.
std::vector<Backend*> devices();

}  // namespace ggq::test
