// Arena and Program: a plan bound to memory, ready to run any number of times.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "ggq/page_traffic.h"
#include "ggq/plan.h"

namespace ggq {

// One allocation for temporaries and pages, and one on the host for kept values that wait there; programs that run one
// at a time share it.
class Arena {
public:
    Arena(Backend& backend, int64_t bytes, int64_t host_bytes = 0);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    std::byte* data() const { return data_; }
    int64_t bytes() const { return bytes_; }
    std::byte* host_data() const { return host_data_; }
    int64_t host_bytes() const { return host_bytes_; }

private:
    Backend* backend_;
    int64_t bytes_, host_bytes_;
    std::byte *data_ = nullptr, *host_data_ = nullptr;
};

// Time, arithmetic and memory traffic an op, summed over runs.
struct Profile {
    struct Row {
        double seconds = 0;
        int64_t calls = 0;
        double flops = 0, bytes = 0;
    };
    std::map<std::string, Row> rows;  // by op name
    double kernel_seconds = 0;        // the sum of the rows
    double wall_seconds = 0;          // of the runs as a whole

    // Slowest first, with the rates that apply: '-' where an op's arithmetic is negligible.
    std::string table() const;
};

class Program {
public:
    // `name` is for messages. The graph's buffers must have memory by the first run.
    Program(std::shared_ptr<const Graph> graph, Plan plan, std::string name = "program");

    const std::string& name() const { return name_; }
    const Graph& graph() const { return *graph_; }
    const Plan& plan() const { return plan_; }

    // Another plan of the same graph, before bind().
    void set_plan(Plan plan);

    // Fixes all addresses. The arena must hold plan().arena_bytes and host_bytes.
    void bind(Backend& backend, const Arena& arena);

    // Where the backend records: runs once, then has the steps recorded, so that later runs allocate nothing and start
    // at once (but for a plan in which pages migrate). What that run does to state is the caller's to undo. Else, and
    // without it, every run starts the steps one by one, with the same bits.
    void prepare();

    // Throws Error naming the program if a step fails on the device; under GGQ_SYNC=1, naming the op and its layer.
    void run(Profile* profile = nullptr);

    // The same without waiting: the run has ended when the backend says so. One after the other may be started.
    void start();

    // Of the last run.
    PageTraffic traffic() const;

    // Copies a marked output, or any persistent tensor, to the host.
    void read(Tensor t, void* host) const;

    template <typename T>
    T read_scalar(Tensor t) const {
        T value;
        GGQ_ASSERT(t.type().bytes() == sizeof(T), "size of a scalar");
        read(t, &value);
        return value;
    }

private:
    struct BoundStep {
        const Step* step = nullptr;  // null: none of the graph
        const OpDef* op = nullptr;   // null: a copy
        ParamBlock params = {};      // of an op that is no step of the graph
        std::vector<View> in = {}, out = {};
        std::span<std::byte> workspace = {};
        Lane lane = Lane::compute;
        void *from = nullptr, *to = nullptr;  // of a copy
        int64_t bytes = 0;                    // that a copy or a restoring step moves
        std::vector<int32_t> waits = {};      // events of other lanes; of the computing lane those of copies
        std::vector<int32_t> joins = {};      // of the computing lane: events of lane aside
        int32_t event = -1;                   // that others wait for; -1: none does
    };

    BoundStep bound_op(const PlannedStep& s) const;
    BoundStep bound_copy(const PlannedStep& s) const;
    BoundStep bound_restore(const PlannedStep& s) const;
    void bind_events();
    void start_all();
    void wait_for(const std::vector<int32_t>& events);
    std::string name_of(const BoundStep& s) const;
    void add_to(Profile& profile, const BoundStep& s, double seconds) const;
    View view_of(int32_t tensor) const;
    void start_step(const BoundStep& s);
    std::string failure(const std::string& what) const;
    void run_apart(Profile* profile);

    std::shared_ptr<const Graph> graph_;
    Plan plan_;
    std::string name_;
    Backend* backend_ = nullptr;
    const Arena* arena_ = nullptr;
    std::vector<BoundStep> steps_;
    std::vector<std::pair<Lane, int32_t>> last_of_lanes_;  // the other lanes, and the event of the last step of each
    int32_t n_stamps_ = 0;                                 // two for each wait of the computing lane
    std::unique_ptr<Recording> recording_;
};

}  // namespace ggq
