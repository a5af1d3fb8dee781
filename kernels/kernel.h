// What a kernel is: one signature for all of them, in which the rows of ops hold them and the backends run them. The
// entry points stand in kernels/kernels.h; only who names one includes that, and a file that defines one need not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/param_block.h"
#include "kernels/view.h"

namespace ggq {

class ThreadPool;
struct CudaContext;  // kernels/cuda/context.h

struct CpuContext {
    ThreadPool* threads;
};

struct KernelArgs {
    std::span<const View> out;
    std::span<const View> in;
    const ParamBlock* params;
    std::span<std::byte> workspace;  // 256-byte aligned; as many bytes as the op's row asks for

    template <typename P>
    const P& param() const {
        return params->as<P>();
    }
};

enum class CpuIsa : uint8_t { portable, avx2, avx512 };

// The best that this machine runs, or the one named by the environment variable GGQ_CPU_ISA if the machine has it.
CpuIsa detect_cpu_isa();
const char* name(CpuIsa isa);

// One kernel, compiled once for each instruction set.
struct CpuKernel {
    using Fn = void (*)(const CpuContext&, const KernelArgs&);
    Fn fn[3] = {};
    explicit operator bool() const { return fn[0] != nullptr; }
    Fn operator[](CpuIsa isa) const { return fn[static_cast<int>(isa)]; }
};

// The same kernel on a CUDA device: it is put on the context's stream and may not have run when the call returns.
using CudaKernel = void (*)(const CudaContext&, const KernelArgs&);

// Stands for each of them in a build without CUDA, and is never run there.
void cuda_not_built(const CudaContext&, const KernelArgs&);

// What a row names: the kernel on every device.
struct Kernel {
    CpuKernel cpu = {};
    CudaKernel cuda = nullptr;
};

}  // namespace ggq
