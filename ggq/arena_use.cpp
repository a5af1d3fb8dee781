#include "ggq/arena_use.h"

#include <algorithm>

#include "ggq/graph.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

const Step* op_of(const PlannedStep& s, const Graph& graph) {
    return s.step < 0 ? nullptr : &graph.steps()[static_cast<size_t>(s.step)];
}

class UseByStep {
public:
    UseByStep(const Plan& plan, const Graph& graph)
        : plan_(plan), graph_(graph), goes_on_(plan.tensors.size()), changes_(plan.steps.size() + 1) {}

    std::vector<ArenaUse> count() {
        for (const PlannedStep& s : plan_.steps) note_readers(s);
        for (size_t i = 0; i < plan_.tensors.size(); ++i) add_tensor(i);
        for (size_t i = 0; i < plan_.steps.size(); ++i)
            add(&ArenaUse::workspace, plan_.steps[i].workspace_bytes, static_cast<int32_t>(i), static_cast<int32_t>(i));
        for (auto part :
             {&ArenaUse::kept, &ArenaUse::temporaries, &ArenaUse::pages, &ArenaUse::workspace, &ArenaUse::migrated})
            for (size_t i = 1; i < changes_.size(); ++i) changes_[i].*part += changes_[i - 1].*part;
        changes_.pop_back();
        return std::move(changes_);
    }

private:
    // Whether the backward pass wants a tensor: it reads it, runs its reader again, or has it wait on the host.
    void note_readers(const PlannedStep& s) {
        const Step* op = op_of(s, graph_);
        if (op && !op->backward && !s.recomputed) return;
        for (int32_t t : s.in) goes_on_[static_cast<size_t>(plan_.tensors[static_cast<size_t>(t)].storage)] = true;
    }

    void add_tensor(size_t i) {
        const PlannedTensor& t = plan_.tensors[i];
        if (t.storage != static_cast<int32_t>(i) || t.bytes == 0 || t.last < 0) return;
        add(t.in_place ? &ArenaUse::migrated : part_of(t, goes_on_[i]), t.bytes, t.first, t.last);
    }

    int64_t ArenaUse::*part_of(const PlannedTensor& t, bool goes_on) const {
        if (t.restored) return &ArenaUse::temporaries;
        if (graph_.values()[static_cast<size_t>(t.value)].kind != Kind::temporary) return &ArenaUse::pages;
        const PlannedStep& maker = plan_.steps[static_cast<size_t>(t.first)];
        const Step* op = op_of(maker, graph_);
        if (!op) return &ArenaUse::kept;  // it waited on the host
        return !op->backward && !maker.recomputed && goes_on ? &ArenaUse::kept : &ArenaUse::temporaries;
    }

    void add(int64_t ArenaUse::*part, int64_t n_bytes, int32_t first, int32_t last) {
        const int64_t taken = round_up(n_bytes, kArenaAlignment);
        changes_[static_cast<size_t>(first)].*part += taken;
        changes_[std::min(static_cast<size_t>(last) + 1, changes_.size() - 1)].*part -= taken;
    }

    const Plan& plan_;
    const Graph& graph_;
    std::vector<bool> goes_on_;      // by planned tensor, of owners
    std::vector<ArenaUse> changes_;  // by step, and after the last
};

}  // namespace

std::vector<ArenaUse> arena_use(const Plan& plan, const Graph& graph) { return UseByStep(plan, graph).count(); }

size_t fullest_step(const std::vector<ArenaUse>& use) {
    return static_cast<size_t>(std::ranges::max_element(use, {}, &ArenaUse::live) - use.begin());
}

size_t first_backward_step(const Plan& plan, const Graph& graph) {
    const auto is_backward = [&](const PlannedStep& s) {
        const Step* op = op_of(s, graph);
        return op && op->backward;
    };
    return static_cast<size_t>(std::ranges::find_if(plan.steps, is_backward) - plan.steps.begin());
}

}  // namespace ggq
