// Constant tables on the device, the two 256-entry code maps among them, and the search for a map's nearest entry.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/code_maps.h"

namespace ggq::cuda {

// std::array's accessors are host functions; this is the same without them.
template <typename T, size_t n>
struct DeviceTable {
    T of[n];
};

template <typename T, size_t n>
constexpr DeviceTable<T, n> device_table(const std::array<T, n>& from) {
    DeviceTable<T, n> table{};
    for (size_t i = 0; i < n; ++i) table.of[i] = from[i];
    return table;
}

// In global memory: the lanes of a warp ask for different entries, which constant memory would serve one by one.
[[maybe_unused]] static __device__ const DeviceTable<float, 256> kDeviceSignedMap = device_table(kSignedMap);
[[maybe_unused]] static __device__ const DeviceTable<float, 256> kDeviceUnsignedMap = device_table(kUnsignedMap);

// The 255 midpoints of neighbouring entries of a map, as a search tree for shared memory: node 1 is the root, 2i and
// 2i + 1 are the children of i. A level lies side by side, so that lanes at one level seldom meet in a bank.
struct MidpointTree {
    float node[256];
};

// All threads of the block fill the tree together; the caller synchronises.
__device__ __forceinline__ void fill_tree(MidpointTree& tree, const float* map) {
    for (int i = static_cast<int>(threadIdx.x) + 1; i < 256; i += static_cast<int>(blockDim.x)) {
        const int level = 31 - __clz(i);
        const int below = ((2 * (i - (1 << level)) + 1) << (7 - level)) - 1;  // the entry under the midpoint
        tree.node[i] = __fmul_rn(__fadd_rn(map[below], map[below + 1]), 0.5f);
    }
}

// The nearest entry's code: the number of midpoints below x. A NaN is above none.
__device__ __forceinline__ uint8_t nearest_code(const MidpointTree& tree, float x) {
    int i = 1;
#pragma unroll
    for (int level = 0; level < 8; ++level) i = 2 * i + (x > tree.node[i] ? 1 : 0);
    return static_cast<uint8_t>(i - 256);
}

}  // namespace ggq::cuda
