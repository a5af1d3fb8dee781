#include "kernels/cuda/tensor_map.h"

#include <string>

#include "kernels/check.h"
#include "kernels/cuda/context.h"

namespace ggq::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The library of the driver is not linked: without a driver a program starts all the same.
Encode find_encode() {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    GGQ_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result));
#else
    GGQ_CUDA_CHECK(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result));
#endif
    if (result != cudaDriverEntryPointSuccess || found == nullptr)
        throw Error("CUDA: the driver has no cuTensorMapEncodeTiled; update it to one of CUDA 12.0 or later");
    return reinterpret_cast<Encode>(found);
}

// Of 16-bit elements, the innermost axis first and packed; `bytes` from one place to the next of the others.
template <unsigned n>
CUtensorMap encoded(const void* data, DType dtype, const cuuint64_t (&shape)[n], const cuuint64_t (&bytes)[n - 1],
                    const cuuint32_t (&box)[n]) {
    static const Encode encode = find_encode();
    cuuint32_t steps[n];
    for (cuuint32_t& step : steps) step = 1;
    CUtensorMap map;
    const CUresult status =
        encode(&map, dtype == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, n,
               const_cast<void*>(data), shape, bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS)
        throw Error("CUDA: cuTensorMapEncodeTiled: error " + std::to_string(static_cast<int>(status)));
    return map;
}

}  // namespace

CUtensorMap head_panels(const View& x, int rows) {
    const int64_t heads = x.shape[1], size = x.shape[2];
    const auto bytes = [&](int axis, int64_t packed) {  // a stride that is never used may be anything
        return static_cast<cuuint64_t>(x.shape[axis] == 1 ? packed : x.strides[axis]) * 2;
    };
    const cuuint64_t shape[3] = {static_cast<cuuint64_t>(size), static_cast<cuuint64_t>(heads),
                                 static_cast<cuuint64_t>(x.shape[0])};
    const cuuint64_t strides[2] = {bytes(1, size), bytes(0, heads * size)};
    return encoded(x.data, x.dtype, shape, strides, {64, 1, static_cast<cuuint32_t>(rows)});
}

CUtensorMap matrix_panels(const void* data, DType dtype, int64_t n_rows, int64_t n_cols, int64_t stride, int rows) {
    const cuuint64_t shape[2] = {static_cast<cuuint64_t>(n_cols), static_cast<cuuint64_t>(n_rows)};
    return encoded(data, dtype, shape, {static_cast<cuuint64_t>(stride) * 2}, {64, static_cast<cuuint32_t>(rows)});
}

bool has_panels(const View& x) {
    const auto whole = [&](int axis) {
        return x.shape[axis] == 1 || (x.strides[axis] > 0 && x.strides[axis] % 8 == 0);
    };
    return x.shape[2] % 64 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && whole(0) && whole(1);
}

}  // namespace ggq::cuda
