// A device of several lanes on the CPU whose lanes lag: nothing runs when it is started, but at synchronize(), in an
// order that a seed decides among those that the waits allow. What does not wait for what it needs reads NaN, or bytes
// of another time.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "ggq/backend.h"
#include "ggq/error.h"
#include "ggq/host_blocks.h"

namespace ggq::test {

class LaggingBackend final : public Backend {
public:
    // Which lane goes on where several can.
    enum class Order { copies_first, copies_last, random };

    explicit LaggingBackend(Order order = Order::random, uint64_t seed = 0, int64_t most_bytes = INT64_MAX)
        : order_(order), random_(seed), most_bytes_(most_bytes) {}
    ~LaggingBackend() override = default;

    const char* name() const override { return "lagging"; }
    std::string description() const override { return cpu_->description(); }
    DType compute_dtype() const override { return cpu_->compute_dtype(); }
    void check_supported(const OpCall& call) const override { cpu_->check_supported(call); }
    // With room for what a step restores by itself.
    int64_t workspace_bytes(const OpCall& call) const override {
        const int weight = restores(call);
        const int64_t n = weight < 0 ? 0 : call.in[static_cast<size_t>(weight)].shape.n_elems();
        return cpu_->workspace_bytes(call) + n * real_bytes(call);
    }
    Costs costs() const override { return costs_given; }

    bool migrates() const override { return migrating; }
    void migrate(Lane lane, void* data, int64_t bytes) override {
        ++n_copies;
        give(lane, [=, this] {
            GGQ_ASSERT(on_device_.contains(data) != (lane == Lane::in), "a page migrates to where it is");
            moving_ = true;
            if (lane == Lane::in) on_device_[data] = bytes;
            else on_device_.erase(data);
        });
    }

    int restores(const OpCall& call) const override {
        if (!restoring) return -1;
        const auto weight = std::ranges::find_if(call.in, [](const TensorType& t) { return info(t.dtype).quantized; });
        return weight == call.in.end() ? -1 : static_cast<int>(weight - call.in.begin());
    }

    void run(const OpDef& op, const KernelArgs& args) override { run_on(Lane::compute, op, args); }
    void run_aside(const OpDef& op, const KernelArgs& args) override { run_on(Lane::aside, op, args); }
    void run_on(Lane lane, const OpDef& op, const KernelArgs& args) {
        // The spans end with the call, what they point at does not.
        const std::vector<View> out(args.out.begin(), args.out.end()), in(args.in.begin(), args.in.end());
        give(lane, [this, &op, out, in, params = args.params, workspace = args.workspace] {
            poison(workspace.data(), static_cast<int64_t>(workspace.size()));
            for (const View& v : in) check_on_device(v.data);
            for (const View& v : out) check_on_device(v.data);
            cpu_->run(op, {out, in, params, workspace});
        });
    }
    void copy(Lane lane, void* to, const void* from, int64_t bytes) override {
        ++n_copies;
        bytes_copied += bytes;
        give(lane, [=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
    }
    void mark(Lane lane, int32_t event) override {
        lanes_[lane].push_back({.marks = ++times_marked_[event], .event = event});
    }
    void wait(Lane lane, int32_t event) override {
        lanes_[lane].push_back({.waits = times_marked_[event], .event = event});
    }
    // Takes the number of the lanes' doings so far for the time.
    void stamp(Lane lane, int32_t stamp) override {
        lanes_[lane].push_back({.work = [=, this] { stamps_[stamp] = n_done_; }, .counts = false});
    }
    double seconds_between(int32_t stamp, int32_t later_stamp) const override {
        return static_cast<double>(stamps_.at(later_stamp) - stamps_.at(stamp));
    }
    void synchronize() override {
        while (step()) {
        }
        moving_ = false;
        for (const auto& [lane, work] : lanes_) GGQ_ASSERT(work.empty(), "a lane waits for what nobody marks");
    }

    // In order with what the lanes have been given.
    void copy_in(void* device, const void* host, int64_t bytes) override {
        synchronize();
        cpu_->copy_in(device, host, bytes);
    }
    void copy_out(void* host, const void* device, int64_t bytes) override {
        synchronize();
        cpu_->copy_out(host, device, bytes);
    }
    void set_bytes(void* device, std::byte value, int64_t bytes) override {
        synchronize();
        cpu_->set_bytes(device, value, bytes);
    }
    bool reads_host_memory() const override { return reads_host; }
    bool has_own_memory() const override { return true; }
    int64_t free_bytes() const override { return std::min(cpu_->free_bytes(), most_bytes_ - memory().bytes); }
    int64_t free_host_bytes() const override {
        return std::min(cpu_->free_bytes(), most_host_bytes - host_memory().bytes);
    }
    std::string host_memory_form() const override { return host_blocks_.form(); }

    Costs costs_given;
    bool migrating = false;
    bool restoring = false;  // quantized weights in steps of their own
    bool reads_host = true;  // memory of the host that is not of allocate_host()
    int64_t most_host_bytes = INT64_MAX;
    int64_t most_pinned_bytes = INT64_MAX;  // of them; more cannot be pinned
    int64_t n_copies = 0, bytes_copied = 0;

private:
    struct Work {
        std::function<void()> work = {};
        int64_t marks = 0, waits = 0;  // the how many-th marking of an event
        int32_t event = -1;
        bool counts = true;  // takes time
    };

    void give(Lane lane, std::function<void()> work) { lanes_[lane].push_back({.work = std::move(work)}); }

    bool can_go(Lane lane) {
        const std::vector<Work>& queue = lanes_[lane];
        return !queue.empty() && happened_[queue.front().event] >= queue.front().waits;
    }

    bool step() {
        std::vector<Lane> ready;
        for (Lane lane : kLanes)
            if (can_go(lane)) ready.push_back(lane);
        if (ready.empty()) return false;
        size_t which = random_() % ready.size();
        if (order_ == Order::copies_first) which = ready.size() - 1;
        if (order_ == Order::copies_last) which = 0;
        std::vector<Work>& queue = lanes_[ready[which]];
        const Work work = std::move(queue.front());
        queue.erase(queue.begin());
        if (work.work) work.work();
        n_done_ += work.work && work.counts;
        if (work.marks > 0) happened_[work.event] = work.marks;
        return true;
    }

    // No kernel of a program whose pages migrate reads one that has not come, or has gone.
    void check_on_device(const void* data) const {
        const auto holds = [&](const auto& block) {
            return block.first <= data && data < at(block.first, block.second);
        };
        if (!moving_ || std::ranges::none_of(bytes_on_host_, holds)) return;
        GGQ_ASSERT(std::ranges::any_of(on_device_, holds), "a page is read on the host");
    }
    static const void* at(const void* data, int64_t bytes) { return static_cast<const std::byte*>(data) + bytes; }

    static void poison(void* data, int64_t bytes) {
        if (bytes > 0) std::memset(data, 0xFF, static_cast<size_t>(bytes));
    }

    void* do_allocate(int64_t bytes) override {
        if (memory().bytes + bytes > most_bytes_) return nullptr;
        void* data = cpu_->allocate(bytes);
        poison(data, bytes);
        return data;
    }
    void do_release(void* data, int64_t bytes) noexcept override { cpu_->release(data, bytes); }
    void* do_allocate_host(int64_t bytes) override {
        const auto take = [&] { return cpu_->allocate(bytes); };
        const bool can_be_pinned = host_memory().bytes + bytes <= most_pinned_bytes;
        void* data = host_blocks_.take([&] { return can_be_pinned ? take() : nullptr; }, take);
        if (!data) return nullptr;
        poison(data, bytes);
        bytes_on_host_[data] = bytes;
        return data;
    }
    void do_release_host(void* data, int64_t bytes) noexcept override {
        host_blocks_.forget_unified(data);
        bytes_on_host_.erase(data);
        cpu_->release(data, bytes);
    }

    std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
    Order order_;
    std::mt19937_64 random_;
    int64_t most_bytes_;
    std::map<Lane, std::vector<Work>> lanes_;
    std::map<int32_t, int64_t> times_marked_, happened_, stamps_;
    int64_t n_done_ = 0;
    HostBlocks host_blocks_{Pager::automatic};
    std::map<void*, int64_t> bytes_on_host_, on_device_;  // of each block
    bool moving_ = false;                                 // since the last synchronize()
};

}  // namespace ggq::test
