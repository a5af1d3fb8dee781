// What Hopper alone has (PTX ISA 9.7.8, 9.7.13 and 9.7.15), one function an instruction: products of four warps that
// read their operands from shared memory (wgmma), copies of whole tiles by the copy engine, the barriers in shared
// memory that these complete on, and moving registers between warps. hopper_products.cuh has the products. Code for 90a
// alone; kSm90a says whether the present pass of the compiler makes it; kernels are empty in others.
//
// A tile of a [rows, 64 * n] matrix of 16-bit elements stands in shared memory as n panels of [rows, 64], a row of a
// panel taking 128 bytes, aligned to 1024; the 16-byte piece i of row r lies at place i ^ (r % 8). The copy engine
// writes and reads this layout, matrix instructions take it as it is, or turned (transposed).
#pragma once

#include <cuda.h>

#include "kernels/cuda/ptx.cuh"

namespace ggq::cuda::hopper {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kSm90a = true;
#else
inline constexpr bool kSm90a = false;
#endif

inline constexpr int kWarpGroup = 128;
inline constexpr int kPanel = 64, kPanelRowBytes = 128;  // columns of a panel, bytes of its rows

// ---- barriers: a phase ends when all arrivals and all announced bytes have come; phases are told apart by parity

using Barrier = uint64_t;

__device__ __forceinline__ void init_barrier(Barrier* at, int n_arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(at)), "r"(n_arrivals) : "memory");
}

// Barriers that this thread has made are seen by the copy engine.
__device__ __forceinline__ void publish_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive(Barrier* at) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(at)) : "memory");
}

__device__ __forceinline__ void arrive_expecting(Barrier* at, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(at)), "r"(bytes)
                 : "memory");
}

// On the same barrier of block number `block` of the cluster. A release to the cluster (.release.cluster) would wait
// for all writes of this thread to memory, which takes longer than a product.
__device__ __forceinline__ void arrive_at(Barrier* at, uint32_t block) {
    asm volatile(
        "{.reg .u32 there;\n\tmapa.shared::cluster.u32 there, %0, %1;\n\t"
        "mbarrier.arrive.shared::cluster.b64 _, [there];}" ::"r"(shared_address(at)),
        "r"(block)
        : "memory");
}

// Until the phase of this parity has ended; that of parity 1 has on a new barrier.
__device__ __forceinline__ void wait(Barrier* at, int parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n}" ::"r"(shared_address(at)),
        "r"(parity)
        : "memory");
}

// Barriers of some warps, by number (0 is that of __syncthreads): `n` threads come, those that sync wait for all.
__device__ __forceinline__ void sync_warps(int number, int n) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(n) : "memory");
}
__device__ __forceinline__ void arrive_warps(int number, int n) {
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(n) : "memory");
}

// ---- the copy engine

__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// A panel of rows [token, ...) of a head; rows beyond the last are zeros. Completes on a barrier.
__device__ __forceinline__ void load_panel(void* to, const CUtensorMap* map, Barrier* done, int column, int head,
                                           int token) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
            "r"(shared_address(to)),
        "l"(map), "r"(shared_address(done)), "r"(column), "r"(head), "r"(token)
        : "memory");
}

// Rows beyond the last are not written. Completes with the groups of stores of this thread.
__device__ __forceinline__ void store_panel(const CUtensorMap* map, const void* from, int column, int head, int token) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                 "r"(shared_address(from)), "r"(column), "r"(head), "r"(token)
                 : "memory");
}

// The same of a matrix (matrix_panels()).
__device__ __forceinline__ void load_panel(void* to, const CUtensorMap* map, Barrier* done, int column, int row) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_address(to)),
        "l"(map), "r"(shared_address(done)), "r"(column), "r"(row)
        : "memory");
}

__device__ __forceinline__ void store_panel(const CUtensorMap* map, const void* from, int column, int row) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(shared_address(from)), "r"(column), "r"(row)
                 : "memory");
}

// To the same place in each of the first n blocks of the cluster, completing on the same barrier of each.
template <int n>
__device__ __forceinline__ void load_panel_for(void* to, const CUtensorMap* map, Barrier* done, int column, int row) {
    if constexpr (n == 1) return load_panel(to, map, done, column, row);
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
        "l"(map), "r"(shared_address(done)), "r"(column), "r"(row), "h"(static_cast<uint16_t>((1 << n) - 1))
        : "memory");
}

// A multiple of 16 bytes, both sides aligned to 16.
__device__ __forceinline__ void load_bytes(void* to, const void* from, int bytes, Barrier* done) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(done))
                 : "memory");
}

__device__ __forceinline__ void store_bytes(void* to, const void* from, int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
                 "r"(bytes)
                 : "memory");
}

// Adds floats to those in memory, each on its own.
__device__ __forceinline__ void add_floats(float* to, const float* from, int bytes) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Until at most n groups of this thread still read shared memory, or have not been written.
template <int n>
__device__ __forceinline__ void wait_stores_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(n) : "memory");
}
template <int n>
__device__ __forceinline__ void wait_stores() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(n) : "memory");
}

// What this thread wrote to shared memory is seen by products and copies after the next barrier.
__device__ __forceinline__ void publish_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// What this thread knows to be written to global memory is seen by its next copies.
__device__ __forceinline__ void publish_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// Four matrices of 8 rows of 16 bytes, as load_matrices reads them.
__device__ __forceinline__ void store_matrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b),
                 "r"(c), "r"(d)
                 : "memory");
}

// ---- registers of a warp group, between its warps' share at launch and what it needs

template <int n>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ __forceinline__ void leave_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}

}  // namespace ggq::cuda::hopper
