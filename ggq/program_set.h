// ProgramSet: the programs of one purpose and all the memory that they share.
//
//   ProgramSet set(backend);
//   Buffer& x = set.store().declare(...);          // persistent tensors, without memory yet
//   Program& step = set.add("step", graph);        // planned over them
//   set.fit();                                     // less memory and more time, where it has to be
//   set.require_fits("use a shorter context");     // before anything is loaded
//   set.allocate([&] { load weights });
//   step.run();
//
// It alone knows the order: declare, plan, fit, ask whether it fits, take the store, load, take the arena, bind,
// record. Its programs run one at a time and share one arena, which is the largest of theirs.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ggq/backend.h"
#include "ggq/buffer.h"
#include "ggq/plan.h"
#include "ggq/program.h"

namespace ggq {

// Bytes, as they will be allocated; overhead is what the device will hold for itself when all programs have run.
struct MemoryUse {
    int64_t weights = 0, parameters = 0, state = 0, inputs = 0;
    int64_t arena = 0;      // temporaries, pages and workspace
    int64_t workspace = 0;  // the largest, inside the arena
    int64_t overhead = 0;
    int64_t migrated = 0;    // pages that are on the device at a time and have no place in the arena
    int64_t host = 0;        // in the host's memory: what is paged or mapped
    int64_t host_arena = 0;  // and kept values that wait there

    int64_t total() const { return weights + parameters + state + inputs + arena; }  // allocated on the device
    int64_t host_total() const { return host + host_arena; }
};

// Bytes beyond what is free, on the device and in the host's memory; 0: they are there.
struct MemoryShortage {
    int64_t device = 0, host = 0;

    int64_t total() const { return device + host; }
};

class ProgramSet {
public:
    explicit ProgramSet(Backend& backend) : backend_(&backend), store_(backend) {}
    ProgramSet(const ProgramSet&) = delete;
    ProgramSet& operator=(const ProgramSet&) = delete;

    Backend& backend() const { return *backend_; }
    Store& store() { return store_; }
    const Store& store() const { return store_; }

    // Plans a graph over the store's buffers, before allocate(); the reference stays valid. `harmless_inputs` writes
    // inputs under which a run leaves all parameters as they are: where the backend records programs, each runs once.
    Program& add(std::string name, std::shared_ptr<const Graph> graph, const PlanOptions& options = {},
                 std::function<void()> harmless_inputs = {});

    // Where the plans want more than is free on the device: recomputes more in programs whose recomputation is
    // automatic, pages buffers that may be (Buffer::pageable), and lets kept values wait on the host; of the ways that
    // fit, the one that takes the least time, each program's weighed by how often it runs (all alike if none says).
    // Where all fits, what is left is for restored weights of programs that recompute nothing (ggq/restore_steps.h).
    // `most_bytes`: a smaller budget than what is free. Of memory that is the host's own a fifth is left.
    void fit(int64_t most_bytes = INT64_MAX);

    // What all that was declared and added takes together.
    MemoryUse memory() const;
    MemoryShortage shortage(int64_t most_bytes = INT64_MAX) const;
    bool fits(int64_t most_bytes = INT64_MAX) const { return shortage(most_bytes).total() == 0; }
    // Throws Error "memory: the plan needs ... and ... are free{limit}, ... too few; {advice}".
    void require_fits(std::string_view advice, std::string_view limit = "") const;

    std::vector<const Program*> programs() const;  // in the order in which they were added

    // Of all programs: ops of the computing lane, and what runs on others, mostly copies.
    std::pair<int64_t, int64_t> n_steps() const;

    // Takes the memory, once. `load` fills constants and parameters before the arena is taken, so that what a tensor
    // needs for a moment while it is quantized adds nothing to the peak. Afterwards all state is zero, every program
    // can run, and none allocates anything.
    void allocate(const std::function<void()>& load = {});

    // The arena, for who borrows it between runs; empty before allocate().
    std::span<std::byte> idle_arena() const;

private:
    friend class MemoryFit;

    struct Member {
        Program program;
        PlanOptions options;
        std::function<void()> harmless_inputs;
    };

    void record();
    int64_t growth() const;  // of the device's own memory until then
    int64_t spare(int64_t most_bytes) const;
    void use_spare(int64_t most_bytes);

    Backend* backend_;
    Store store_;
    std::deque<Member> members_;
    std::unique_ptr<Arena> arena_;
};

}  // namespace ggq
