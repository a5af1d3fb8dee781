// The GPU of tests, if there is one.
#pragma once

#include "ggq/backend.h"

namespace ggq::test {

// One backend for all tests of a run; null, counted as skipped with the reason, where there is no GPU.
Backend* require_gpu();

}  // namespace ggq::test
