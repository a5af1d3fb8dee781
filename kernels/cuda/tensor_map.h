// What the copy engine of Hopper knows of rows of heads in memory (a tensor map), made on the host and handed to a
// kernel by value.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/view.h"

namespace ggq::cuda {

// x[n, heads, D] of 16-bit elements, of which a copy takes [rows, 64] of one head, swizzled as hopper.cuh describes.
// Throws Error where the driver refuses. It takes data and rows that are aligned
// to 16 bytes, and a D that is a multiple of 64.
CUtensorMap head_panels(const View& x, int rows);

// Whether that is so.
bool has_panels(const View& x);

// x[n_rows, n_cols] of 16-bit elements, `stride` elements from row to row, of which a copy takes [rows, 64], zeros
// beyond its edges; `data` and rows aligned to 16 bytes.
CUtensorMap matrix_panels(const void* data, DType dtype, int64_t n_rows, int64_t n_cols, int64_t stride, int rows);

}  // namespace ggq::cuda
