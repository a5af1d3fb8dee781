#include "ggq/recompute.h"

#include <algorithm>

namespace ggq {

namespace {

const Value& value_of(const Graph& graph, int32_t id) { return graph.values()[static_cast<size_t>(id)]; }

// The layer that makes a temporary, or -1.
int32_t layer_of(const Graph& graph, int32_t id) {
    const int32_t step = value_of(graph, id).step;
    return step < 0 ? -1 : graph.steps()[static_cast<size_t>(step)].layer;
}

}  // namespace

std::vector<bool> kept_values(const Graph& graph, Recompute policy) {
    std::vector<bool> kept(graph.values().size(), policy == Recompute::none);
    if (policy == Recompute::none) return kept;
    for (size_t id = 0; id < kept.size(); ++id) {
        const Value& v = graph.values()[id];
        kept[id] = layer_of(graph, static_cast<int32_t>(id)) < 0 || value_of(graph, v.storage).output;
    }
    for (const Step& step : graph.steps())
        for (int32_t id : step.in)
            if (!step.backward && layer_of(graph, id) != step.layer) {
                kept[static_cast<size_t>(id)] = true;
                kept[static_cast<size_t>(value_of(graph, id).storage)] = true;
            }
    return kept;
}

namespace {

class Scheduler {
public:
    Scheduler(const Graph& graph, const std::vector<bool>& kept) : graph_(graph), kept_(kept) {
        for (size_t id = 0; id < graph.values().size(); ++id) result_.values.push_back(static_cast<int32_t>(id));
        again_.assign(graph.values().size(), -1);
    }

    Schedule run() {
        for (size_t i = 0; i < graph_.steps().size(); ++i) emit(static_cast<int32_t>(i));
        return std::move(result_);
    }

private:
    void emit(int32_t index) {
        const Step& step = graph_.steps()[static_cast<size_t>(index)];
        now_ = index;
        GGQ_ASSERT(reads_what_was(step), std::string(step.op->name) + " reads a version that is gone");
        ScheduledStep s{index, step.in, step.out, false};
        if (step.backward)
            for (int32_t& id : s.in) id = available(id);
        result_.steps.push_back(std::move(s));
    }

    // The tensor to read for a value in the backward pass: itself if kept, else one recomputed now or before.
    int32_t available(int32_t id) {
        const Value& v = value_of(graph_, id);
        const bool forward = v.step >= 0 && !graph_.steps()[static_cast<size_t>(v.step)].backward;
        if (!forward || v.kind != Kind::temporary || kept_[static_cast<size_t>(id)]) return id;
        int32_t& again = again_[static_cast<size_t>(id)];
        if (again < 0 && !reads_what_was(graph_.steps()[static_cast<size_t>(v.step)])) return id;
        if (again < 0) recompute(v.step);
        return again;
    }

    // Whether all persistent memory that a step reads still holds what the step is meant to read. One that writes state
    // has itself overwritten what it reads there.
    bool reads_what_was(const Step& step) const {
        return std::ranges::none_of(step.in, [&](int32_t id) {
            const int32_t by = value_of(graph_, value_of(graph_, id).storage).overwritten_by;
            return by >= 0 && by < now_;
        });
    }

    void recompute(int32_t index) {
        const Step& step = graph_.steps()[static_cast<size_t>(index)];
        ScheduledStep s{index, {}, {}, true};
        for (int32_t id : step.in) s.in.push_back(available(id));
        for (int32_t id : step.out) {
            s.out.push_back(static_cast<int32_t>(result_.values.size()));
            again_[static_cast<size_t>(id)] = s.out.back();
            result_.values.push_back(id);
        }
        result_.steps.push_back(std::move(s));
    }

    const Graph& graph_;
    const std::vector<bool>& kept_;
    std::vector<int32_t> again_;  // by value: its recomputed tensor, or -1
    int32_t now_ = 0;             // the step of the graph that is being emitted
    Schedule result_;
};

}  // namespace

Schedule schedule(const Graph& graph, const std::vector<bool>& kept) { return Scheduler(graph, kept).run(); }

}  // namespace ggq
