// Products of four warps (wgmma) whose left factor is decoded in registers and whose right one, few columns, stands in
// shared memory as hopper.cuh lays tiles out.
#pragma once

#include "kernels/cuda/hopper_products.cuh"

namespace ggq::cuda::hopper {

#define GGQ_C4(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define GGQ_C8(n) GGQ_C4(n), GGQ_C4(n + 1)
#define GGQ_C16(n) GGQ_C8(n), GGQ_C8(n + 2)
#define GGQ_C32(n) GGQ_C16(n), GGQ_C16(n + 4)
#define GGQ_NAMES4 "%0, %1, %2, %3"
#define GGQ_NAMES8 GGQ_NAMES4 ", %4, %5, %6, %7"
#define GGQ_NAMES16 GGQ_NAMES8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define GGQ_NAMES32 GGQ_NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define GGQ_PRODUCT(cols, type, names, a, b, keep)                                                \
    "{\n.reg .pred add;\nsetp.ne.b32 add, " keep                                                  \
    ", 0;\n"                                                                                      \
    "wgmma.mma_async.sync.aligned.m64n" cols "k16.f32." type "." type " {" names "}, {" a "}, " b \
    ", add, 1, 1, "                                                                               \
    "0;\n}"
#define GGQ_FACTORS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{keep})

// a in registers, laid out as that of multiply_add; b upright; `keep` adds to c, else c is written.
template <typename T, int n>
__device__ __forceinline__ void multiply_codes(float (&c)[n][4], const uint32_t (&a)[4], uint64_t b, bool keep) {
    static_assert(n == 1 || n == 2 || n == 4 || n == 8);
#define GGQ_CALL(type)                                                                                                 \
    if constexpr (n == 8)                                                                                              \
        asm volatile(GGQ_PRODUCT("64", type, GGQ_NAMES32, "%32, %33, %34, %35", "%36", "%37")                          \
                     : GGQ_C32(0)                                                                                      \
                     : GGQ_FACTORS);                                                                                   \
    else if constexpr (n == 4)                                                                                         \
        asm volatile(GGQ_PRODUCT("32", type, GGQ_NAMES16, "%16, %17, %18, %19", "%20", "%21")                          \
                     : GGQ_C16(0)                                                                                      \
                     : GGQ_FACTORS);                                                                                   \
    else if constexpr (n == 2)                                                                                         \
        asm volatile(GGQ_PRODUCT("16", type, GGQ_NAMES8, "%8, %9, %10, %11", "%12", "%13") : GGQ_C8(0) : GGQ_FACTORS); \
    else asm volatile(GGQ_PRODUCT("8", type, GGQ_NAMES4, "%4, %5, %6, %7", "%8", "%9") : GGQ_C4(0) : GGQ_FACTORS)
    if constexpr (std::is_same_v<T, bf16>) {
        GGQ_CALL("bf16");
    } else {
        GGQ_CALL("f16");
    }
#undef GGQ_CALL
}

#undef GGQ_FACTORS
#undef GGQ_PRODUCT
#undef GGQ_NAMES32
#undef GGQ_NAMES16
#undef GGQ_NAMES8
#undef GGQ_NAMES4
#undef GGQ_C32
#undef GGQ_C16
#undef GGQ_C8
#undef GGQ_C4

}  // namespace ggq::cuda::hopper
