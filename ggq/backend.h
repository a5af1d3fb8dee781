// A device: its memory, copies to and from the host, and the running of one step at a time.
//
// The caller owns the backend; whatever a device needs (threads, streams, library handles) hangs on it and ends with
// it. Memory is counted here, so that tests can hold a plan to the byte.
#pragma once

#include <memory>
#include <span>

#include "ggq/op.h"

namespace ggq {

struct MemoryCount {
    int64_t bytes = 0;       // allocated now
    int64_t peak_bytes = 0;  // most at a time
    int64_t allocations = 0;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual const char* name() const = 0;

    // Throws Error if an op, its dtypes or shapes have no kernel here.
    virtual void check_supported(const OpCall& call) const = 0;
    virtual int64_t workspace_bytes(const OpCall& call) const = 0;
    virtual void run(const OpDef& op, const KernelArgs& args) = 0;
    virtual void synchronize() = 0;

    virtual void copy_in(void* device, const void* host, int64_t bytes) = 0;
    virtual void copy_out(void* host, const void* device, int64_t bytes) = 0;
    virtual void zero(void* device, int64_t bytes) = 0;
    virtual int64_t free_bytes() const = 0;  // what can still be allocated

    // 256-byte aligned; throws Error when there is not enough memory.
    void* allocate(int64_t bytes);
    void release(void* data, int64_t bytes) noexcept;
    const MemoryCount& memory() const { return memory_; }

private:
    virtual void* do_allocate(int64_t bytes) = 0;  // null on failure
    virtual void do_release(void* data, int64_t bytes) noexcept = 0;

    MemoryCount memory_;
};

// n_threads 0: one for each processor that this process may use.
std::unique_ptr<Backend> make_cpu_backend(int n_threads = 0);

}  // namespace ggq
