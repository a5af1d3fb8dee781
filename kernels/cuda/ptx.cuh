// Instructions that C++ has no name for, one function each: asynchronous copies to shared memory, fragments of
// matrices, their product in the tensor cores, loads that pass the cache by (PTX ISA, 9.7.9 and 9.7.14). Capability 7.5
// has f16 alone and no asynchronous copies: there they are plain ones.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/real.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

// What the launch asked for, aligned for every layout below.
__device__ __forceinline__ unsigned char* dynamic_shared() {
    extern __shared__ __align__(1024) unsigned char bytes[];
    return bytes;
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes, or zeros unless `valid`: then nothing is read, wherever `from` points.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
#endif
}

// The same, for what others read the rest of the line of 128 bytes soon: L2 fetches all of it.
__device__ __forceinline__ void copy_async_of_line(void* to, const void* from, bool valid) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    copy_async(to, from, valid);
#endif
}

// The first `bytes` (0 to 16) of 16 bytes, then zeros. `from` is aligned to 16 and may be read even for 0 bytes;
// nothing beyond `bytes` is read.
__device__ __forceinline__ void copy_async_part(void* to, const void* from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
#else
    if (bytes == 16) {
        *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
        return;
    }
    const auto* halves = static_cast<const uint16_t*>(from);
    for (int i = 0; i < 8; ++i) static_cast<uint16_t*>(to)[i] = 2 * i < bytes ? halves[i] : uint16_t{0};
#endif
}

// All copies of this thread so far make a group.
__device__ __forceinline__ void commit_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most `n` groups of this thread are under way.
template <int n>
__device__ __forceinline__ void wait_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

// Until no copy of this thread is under way, of a group or none.
__device__ __forceinline__ void wait_all_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Four matrices of 8 rows of 16 bytes; lane i gives the address of row i % 8 of matrix i / 8. Of each matrix a lane
// gets elements 2 * (lane % 4) and the next of row lane / 4.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// The same of the transposed matrices: rows 2 * (lane % 4) and the next of column lane / 4.
__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// All threads of the blocks of a cluster, which see what each other wrote to shared memory before (9.0 on).
__device__ __forceinline__ void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// The number of this block in its cluster.
__device__ __forceinline__ uint32_t block_of_cluster() {
    uint32_t number = 0;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(number));
#endif
    return number;
}

// What stands at `at` in the shared memory of block number `block` of the cluster.
__device__ __forceinline__ float4 load_of_block(const float4* at, uint32_t block) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    float4 v;
    asm volatile(
        "{.reg .u32 there;\n\tmapa.shared::cluster.u32 there, %4, %5;\n\t"
        "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];}"
        : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
        : "r"(shared_address(at)), "r"(block)
        : "memory");
    return v;
#else
    return *at;
#endif
}

__device__ __forceinline__ float load_of_block(const float* at, uint32_t block) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    float v;
    asm volatile(
        "{.reg .u32 there;\n\tmapa.shared::cluster.u32 there, %1, %2;\n\t"
        "ld.shared::cluster.f32 %0, [there];}"
        : "=f"(v)
        : "r"(shared_address(at)), "r"(block)
        : "memory");
    return v;
#else
    return *at;
#endif
}

__device__ __forceinline__ float2 load_of_block(const float2* at, uint32_t block) {
    return {load_of_block(&at->x, block), load_of_block(&at->y, block)};
}

// c[16,8] += a[16,16] b[16,8]. A lane holds, with i = lane / 4 and j = 2 * (lane % 4), pairs side by side:
//   a: (i, j), (i + 8, j), (i, j + 8), (i + 8, j + 8);   b: (j, i) and (j + 8, i), pairs going down;
//   c: (i, j), (i, j + 1), (i + 8, j), (i + 8, j + 1)
// Of results c[n][4] that stand side by side, 8 columns each, element c[n][2 * r + j] of this lane is thus the one at
// (fragment_row(r), fragment_col(n, j)), r and j being 0 or 1; four lanes share a row.
__device__ __forceinline__ int fragment_row(int r) { return static_cast<int>(threadIdx.x % kWarp / 4) + 8 * r; }
__device__ __forceinline__ int fragment_col(int n, int j) { return 8 * n + static_cast<int>(threadIdx.x % 4) * 2 + j; }

template <typename T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if constexpr (std::is_same_v<T, bf16>)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    if constexpr (std::is_same_v<T, f16>) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(b0));
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[2]), "r"(a[3]), "r"(b1));
    } else {
        __trap();  // the backend takes no bf16 here
    }
#endif
}

// 2^x to 2 units in the last place, 0 where that is below the normal numbers.
__device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// a in the low half.
template <typename T>
__device__ __forceinline__ uint32_t pack_pair(float a, float b) {
    uint32_t bits;
    if constexpr (std::is_same_v<T, bf16>) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
        bits = *reinterpret_cast<const uint32_t*>(&pair);
    } else {
        const __half2 pair = __floats2half2_rn(a, b);
        bits = *reinterpret_cast<const uint32_t*>(&pair);
    }
    return bits;
}

template <typename T>
__device__ __forceinline__ float2 unpack_pair(uint32_t bits) {
    return {to_float(T{static_cast<uint16_t>(bits)}), to_float(T{static_cast<uint16_t>(bits >> 16)})};
}

// Weights pass through once: they leave no trace in L1, where x stays, and L2 is asked for whole lines. Not .nc: a
// kernel that starts early may read what the one in front of it has just written.
__device__ __forceinline__ uint32_t load_streamed(const uint32_t* from) {
    uint32_t v;
    asm volatile("ld.global.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(v) : "l"(from));
    return v;
}

__device__ __forceinline__ uint2 load_streamed(const uint2* from) {
    uint2 v;
    asm volatile("ld.global.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(from));
    return v;
}

__device__ __forceinline__ uint4 load_streamed(const uint4* from) {
    uint4 v;
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

// What may be written at this very moment, as it is in L2: a hint, after which L1 has no old value.
__device__ __forceinline__ int load_now(const int* from) {
    int v;
    asm volatile("ld.volatile.global.s32 %0, [%1];" : "=r"(v) : "l"(from));
    return v;
}

// Has the line of memory come to L2. Nothing is read, so whoever writes it may still be at work.
__device__ __forceinline__ void prefetch(const void* line) { asm volatile("prefetch.global.L2 [%0];" ::"l"(line)); }

}  // namespace ggq::cuda
