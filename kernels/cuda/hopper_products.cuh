// Products of four warps on Hopper (wgmma, PTX ISA 9.7.15), their operands in shared memory as hopper.cuh lays tiles
// out.
#pragma once

#include "kernels/cuda/hopper.cuh"

namespace ggq::cuda::hopper {

// ---- products: c[64, 8 n] of a warp group (+)= a[64, 16] b[16, 8 n]. Warp w has rows 16 w .. 16 w + 15, laid out as
// those of multiply_add. Products run on their own from the call until waited for; until then nobody touches c, a or b.

// How an operand stands in shared memory. Upright: rows are those of a (columns of b), its depth lies along the panels'
// rows. Turned: depth goes down the panels' rows, and panels stand `panel_bytes` apart.
__device__ __forceinline__ uint64_t operand(const void* tile, int panel_bytes = 16) {
    const uint64_t address = (shared_address(tile) & 0x3ffff) >> 4, eight_rows = 8 * kPanelRowBytes / 16;
    return address | static_cast<uint64_t>(panel_bytes / 16) << 16 | eight_rows << 32 | uint64_t{1} << 62;
}

// The operand `bytes` further.
__device__ __forceinline__ uint64_t moved(uint64_t operand, int bytes) {
    return operand + static_cast<uint64_t>(bytes / 16);
}

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until at most n groups of products are under way.
template <int n>
__device__ __forceinline__ void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}

// Keeps the compiler from moving accesses of registers across this place.
template <int n>
__device__ __forceinline__ void pin(float (&c)[n][4]) {
#pragma unroll
    for (int i = 0; i < n; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(c[i][e])::"memory");
}
template <int n>
__device__ __forceinline__ void pin(uint32_t (&a)[n][4]) {
#pragma unroll
    for (int i = 0; i < n; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) asm volatile("" : "+r"(a[i][e])::"memory");
}

#define GGQ_C4(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define GGQ_C16(n) GGQ_C4(n), GGQ_C4(n + 1), GGQ_C4(n + 2), GGQ_C4(n + 3)
#define GGQ_C32(n) GGQ_C16(n), GGQ_C16(n + 4)
#define GGQ_C64(n) GGQ_C32(n), GGQ_C32(n + 8)
#define GGQ_C128(n) GGQ_C64(n), GGQ_C64(n + 16)
#define GGQ_NAMES16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define GGQ_NAMES32 GGQ_NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define GGQ_NAMES64                                                                      \
    GGQ_NAMES32                                                                          \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define GGQ_NAMES128                                                                             \
    GGQ_NAMES64                                                                                  \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "         \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "           \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "     \
    "%111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, " \
    "%126, %127"
#define GGQ_PRODUCT(cols, type, names, a, b, keep, turned)                                                             \
    "{\n.reg .pred add;\nsetp.ne.b32 add, " keep                                                                       \
    ", 0;\n"                                                                                                           \
    "wgmma.mma_async.sync.aligned.m64n" cols "k16.f32." type "." type " {" names "}, " a ", " b ", add, 1, 1, " turned \
    ";\n}"

// a and b in shared memory; `keep` adds to c, else c is written.
template <typename T, bool kTurnedA, bool kTurnedB, int n>
__device__ __forceinline__ void multiply(float (&c)[n][4], uint64_t a, uint64_t b, bool keep) {
    static_assert(n == 4 || n == 8 || n == 16 || n == 32);
#define GGQ_CALL(type)                                                                            \
    if constexpr (n == 32)                                                                        \
        asm volatile(GGQ_PRODUCT("256", type, GGQ_NAMES128, "%128", "%129", "%130", "%131, %132") \
                     : GGQ_C128(0)                                                                \
                     : "l"(a), "l"(b), "r"(int{keep}), "n"(int{kTurnedA}), "n"(int{kTurnedB}));   \
    else if constexpr (n == 16)                                                                   \
        asm volatile(GGQ_PRODUCT("128", type, GGQ_NAMES64, "%64", "%65", "%66", "%67, %68")       \
                     : GGQ_C64(0)                                                                 \
                     : "l"(a), "l"(b), "r"(int{keep}), "n"(int{kTurnedA}), "n"(int{kTurnedB}));   \
    else if constexpr (n == 8)                                                                    \
        asm volatile(GGQ_PRODUCT("64", type, GGQ_NAMES32, "%32", "%33", "%34", "%35, %36")        \
                     : GGQ_C32(0)                                                                 \
                     : "l"(a), "l"(b), "r"(int{keep}), "n"(int{kTurnedA}), "n"(int{kTurnedB}));   \
    else                                                                                          \
        asm volatile(GGQ_PRODUCT("32", type, GGQ_NAMES16, "%16", "%17", "%18", "%19, %20")        \
                     : GGQ_C16(0)                                                                 \
                     : "l"(a), "l"(b), "r"(int{keep}), "n"(int{kTurnedA}), "n"(int{kTurnedB}))
    if constexpr (std::is_same_v<T, bf16>) {
        GGQ_CALL("bf16");
    } else {
        GGQ_CALL("f16");
    }
#undef GGQ_CALL
}

// a in registers, laid out as that of multiply_add; always adds.
template <typename T, bool kTurnedB, int n>
__device__ __forceinline__ void multiply(float (&c)[n][4], const uint32_t (&a)[4], uint64_t b) {
    static_assert(n == 8 || n == 16);
#define GGQ_CALL(type)                                                                                  \
    if constexpr (n == 16)                                                                              \
        asm volatile(GGQ_PRODUCT("128", type, GGQ_NAMES64, "{%64, %65, %66, %67}", "%68", "%69", "%70") \
                     : GGQ_C64(0)                                                                       \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "n"(int{kTurnedB})); \
    else                                                                                                \
        asm volatile(GGQ_PRODUCT("64", type, GGQ_NAMES32, "{%32, %33, %34, %35}", "%36", "%37", "%38")  \
                     : GGQ_C32(0)                                                                       \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "n"(int{kTurnedB}))
    if constexpr (std::is_same_v<T, bf16>) {
        GGQ_CALL("bf16");
    } else {
        GGQ_CALL("f16");
    }
#undef GGQ_CALL
}

#undef GGQ_PRODUCT
#undef GGQ_NAMES128
#undef GGQ_NAMES64
#undef GGQ_NAMES32
#undef GGQ_NAMES16
#undef GGQ_C128
#undef GGQ_C64
#undef GGQ_C32
#undef GGQ_C16
#undef GGQ_C4

}  // namespace ggq::cuda::hopper
