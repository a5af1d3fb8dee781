// A device: its memory, copies to and from the host, and the running of one step at a time.
//
// The caller owns the backend; whatever a device needs (threads, streams, library handles) hangs on it and ends with
// it. Memory is counted here, so that tests can hold a plan to the byte.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ggq/costs.h"
#include "ggq/lane.h"
#include "ggq/op.h"

namespace ggq {

struct MemoryCount {
    int64_t bytes = 0;       // allocated now
    int64_t peak_bytes = 0;  // most at a time
    int64_t allocations = 0;
};

// The steps of a program as a device keeps them, to be run again without the host's part.
class Recording {
public:
    virtual ~Recording() = default;
    virtual void replay() = 0;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual const char* name() const = 0;
    virtual std::string description() const = 0;  // "cpu, 8 threads, avx2"
    virtual DType compute_dtype() const = 0;      // the one to take if nobody asks for another

    // Throws Error if an op, its dtypes or shapes have no kernel here.
    virtual void check_supported(const OpCall& call) const = 0;
    virtual int64_t workspace_bytes(const OpCall& call) const = 0;
    virtual Costs costs() const { return {}; }
    // The quantized input that a step would restore before it computes, where it takes it restored as well; else -1.
    virtual int restores(const OpCall& /*call*/) const { return -1; }

    // Starts a step on the compute lane; it has ended after synchronize(), which throws Error if one failed.
    virtual void run(const OpDef& op, const KernelArgs& args) = 0;
    // The same on lane aside.
    virtual void run_aside(const OpDef& op, const KernelArgs& args) { run(op, args); }
    // Starts a copy between memory of allocate_host() and the device, on lane in or out.
    virtual void copy(Lane lane, void* to, const void* from, int64_t bytes);
    // Whether memory of allocate_host() is the device's too: what is paged then keeps its address, and migrate() moves
    // it, to the device on lane in, to the host on lane out.
    virtual bool migrates() const { return false; }
    virtual void migrate(Lane lane, void* data, int64_t bytes);
    // An event has happened when all that its lane was given before mark() has ended; what a lane is given after wait()
    // does not start before. On devices whose work has ended when the call returns there is nothing to do.
    virtual void mark(Lane /*lane*/, int32_t /*event*/) {}
    virtual void wait(Lane /*lane*/, int32_t /*event*/) {}
    // Takes the time when a lane has come so far, on devices that can; to be read after synchronize().
    virtual void stamp(Lane /*lane*/, int32_t /*stamp*/) {}
    virtual double seconds_between(int32_t /*stamp*/, int32_t /*later_stamp*/) const { return 0; }
    // A milestone has been passed when all that the computing lane was given before has ended; await() waits for it.
    virtual void milestone(int32_t /*number*/) {}
    virtual void await(int32_t /*number*/) { synchronize(); }
    virtual void synchronize() = 0;  // all lanes
    // What `steps` runs, recorded instead of run, on devices where that saves time.
    virtual bool records() const { return false; }
    virtual std::unique_ptr<Recording> record(const std::function<void()>& steps);

    // Copies between host and device. The host's bytes can be changed or read as soon as the call returns.
    virtual void copy_in(void* device, const void* host, int64_t bytes) = 0;
    virtual void copy_out(void* host, const void* device, int64_t bytes) = 0;
    virtual void set_bytes(void* device, std::byte value, int64_t bytes) = 0;
    virtual bool reads_host_memory() const = 0;  // whether kernels take pointers to it
    // Whether what lies on the host takes nothing of the device's memory.
    virtual bool has_own_memory() const { return !reads_host_memory(); }
    virtual int64_t free_bytes() const = 0;  // what can still be allocated
    virtual int64_t overhead_bytes() const;  // what the device holds beside what was allocated here
    // What it will hold once programs of so many steps are recorded and have run.
    virtual int64_t overhead_bytes_with(int64_t n_ops, int64_t n_copies) const;

    void zero(void* device, int64_t bytes) { set_bytes(device, std::byte{0}, bytes); }
    // 256-byte aligned; throws Error when there is not enough memory.
    void* allocate(int64_t bytes);
    void release(void* data, int64_t bytes) noexcept;
    const MemoryCount& memory() const { return memory_; }

    // Memory of the host that the device copies from and to at full speed, and whose addresses its kernels read.
    void* allocate_host(int64_t bytes);
    void release_host(void* data, int64_t bytes) noexcept;
    const MemoryCount& host_memory() const { return host_memory_; }
    virtual std::string host_memory_form() const { return ""; }  // for notes: "pinned, with copies"
    virtual int64_t free_host_bytes() const;                     // what can still be allocated there

private:
    virtual void* do_allocate(int64_t bytes) = 0;  // null on failure
    virtual void do_release(void* data, int64_t bytes) noexcept = 0;
    virtual void* do_allocate_host(int64_t bytes) { return do_allocate(bytes); }
    virtual void do_release_host(void* data, int64_t bytes) noexcept { do_release(data, bytes); }

    MemoryCount memory_, host_memory_;
};

// n_threads 0: one for each processor that this process may use.
std::unique_ptr<Backend> make_cpu_backend(int n_threads = 0);

}  // namespace ggq
