#include "ggq/plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "ggq/backend.h"
#include "ggq/layer_order.h"
#include "ggq/page_steps.h"
#include "ggq/restore_steps.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

const Value& value_of(const Graph& graph, int32_t id) { return graph.values()[static_cast<size_t>(id)]; }

// A view made again is a view of its base made again: follow each recomputed view to its own input's owner.
void find_owners(const Graph& graph, const Schedule& schedule, Plan& plan) {
    plan.tensors.resize(schedule.values.size());
    for (size_t i = 0; i < schedule.values.size(); ++i) {
        plan.tensors[i].value = schedule.values[i];
        plan.tensors[i].storage = static_cast<int32_t>(i);
    }
    for (const ScheduledStep& s : schedule.steps) {
        const Step& step = graph.steps()[static_cast<size_t>(s.step)];
        if (step.op->view) {
            const int32_t owner = plan.tensors[static_cast<size_t>(s.in[0])].storage;
            plan.tensors[static_cast<size_t>(s.out[0])].storage = owner;
        }
    }
}

// Sums of gradients grow in place: an output takes the place of the input that its op may write over, where that is a
// temporary of the backward pass, is read for the last time, and no other input stands there.
class SharedPlaces {
public:
    SharedPlaces(const Graph& graph, Plan& plan)
        : graph_(graph), plan_(plan), taken_(plan.tensors.size()), last_(plan.tensors.size(), -1) {
        std::iota(taken_.begin(), taken_.end(), 0);
        for (size_t i = 0; i < plan.steps.size(); ++i)
            for (int32_t t : plan.steps[i].in) last_[static_cast<size_t>(place_of(t))] = static_cast<int32_t>(i);
    }

    void find() {
        for (size_t i = 0; i < plan_.steps.size(); ++i) {
            const PlannedStep& s = plan_.steps[i];
            const int over = graph_.steps()[static_cast<size_t>(s.step)].op->over_input;
            if (over < 0 || over >= std::ssize(s.in)) continue;
            const int32_t place = place_of(s.in[static_cast<size_t>(over)]), result = s.out[0];
            if (last_[static_cast<size_t>(place)] != static_cast<int32_t>(i) || !fits(s, place, result)) continue;
            taken_[static_cast<size_t>(result)] = place;
            last_[static_cast<size_t>(place)] = last_[static_cast<size_t>(result)];
        }
        for (PlannedTensor& t : plan_.tensors) t.storage = taken_[static_cast<size_t>(t.storage)];
    }

private:
    // In the order of steps a place is final before it is taken itself.
    int32_t place_of(int32_t tensor) const {
        return taken_[static_cast<size_t>(plan_.tensors[static_cast<size_t>(tensor)].storage)];
    }
    const Value& value(int32_t tensor) const {
        return value_of(graph_, plan_.tensors[static_cast<size_t>(tensor)].value);
    }
    bool in_backward_pass(const Value& v) const {
        return v.kind == Kind::temporary && !v.output && v.step >= 0 &&
               graph_.steps()[static_cast<size_t>(v.step)].backward;
    }
    bool fits(const PlannedStep& s, int32_t place, int32_t result) const {
        const Value &before = value(place), &after = value(result);
        return in_backward_pass(before) && in_backward_pass(after) && before.type.bytes() == after.type.bytes() &&
               std::ranges::count_if(s.in, [&](int32_t t) { return place_of(t) == place; }) == 1;
    }

    const Graph& graph_;
    Plan& plan_;
    std::vector<int32_t> taken_;  // by owner: the one whose place it takes, by default its own
    std::vector<int32_t> last_;   // by owner: the step that reads it last
};

void note_lifetimes(const Graph& graph, Plan& plan) {
    const auto n_steps = static_cast<int32_t>(plan.steps.size());
    const auto owner = [&](int32_t tensor) -> PlannedTensor& {
        return plan.tensors[static_cast<size_t>(plan.tensors[static_cast<size_t>(tensor)].storage)];
    };
    for (int32_t i = 0; i < n_steps; ++i) {
        const PlannedStep& s = plan.steps[static_cast<size_t>(i)];
        for (int32_t t : s.out) {
            PlannedTensor& o = owner(t);
            if (o.last < 0) o.first = i;
            o.last = i;
        }
        for (int32_t t : s.in) owner(t).last = i;
    }
    for (PlannedTensor& t : plan.tensors) {
        const Value& v = value_of(graph, t.value);
        t.bytes = v.kind == Kind::temporary ? v.type.bytes() : 0;
        if (v.output && t.last >= 0) t.last = n_steps;
    }
}

// Temporaries, and stays of what is persistent.
bool in_arena(const PlannedTensor& t, size_t index) {
    return t.storage == static_cast<int32_t>(index) && t.bytes > 0 && t.last >= 0;
}

// Views only name memory, so they are no steps of their own.
void copy_steps(const Graph& graph, const Backend& backend, const Schedule& schedule, Plan& plan) {
    std::vector<TensorType> types;
    for (const ScheduledStep& s : schedule.steps) {
        const Step& step = graph.steps()[static_cast<size_t>(s.step)];
        if (step.op->view) continue;
        const OpCall call = graph.call(step, types);
        backend.check_supported(call);
        const int64_t workspace = backend.workspace_bytes(call);
        plan.steps.push_back(
            {.step = s.step, .in = s.in, .out = s.out, .workspace_bytes = workspace, .recomputed = s.recomputed});
        plan.workspace_bytes = std::max(plan.workspace_bytes, workspace);
        plan.n_recomputed += s.recomputed;
    }
}

}  // namespace

void place_all(Plan& plan, int64_t enough, int64_t most_bytes) {
    std::vector<Lifetime> blocks, migrated;
    std::vector<int64_t*> targets;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        PlannedTensor& t = plan.tensors[i];
        if (!in_arena(t, i)) continue;
        if (t.in_place) {
            migrated.push_back({t.bytes, t.first, t.last});
            continue;
        }
        blocks.push_back({t.bytes, t.first, t.last});
        targets.push_back(&t.offset);
    }
    for (size_t i = 0; i < plan.steps.size(); ++i) {
        PlannedStep& s = plan.steps[i];
        if (s.workspace_bytes == 0) continue;
        blocks.push_back({s.workspace_bytes, static_cast<int32_t>(i), static_cast<int32_t>(i)});
        targets.push_back(&s.workspace_offset);
    }
    plan.arena_bytes = 0;
    plan.live_bytes = blocks.empty() ? 0 : most_alive(blocks);
    plan.migrated_bytes = migrated.empty() ? 0 : most_alive(migrated);
    if (plan.live_bytes + plan.migrated_bytes > most_bytes) {
        plan.arena_bytes = plan.live_bytes;
        return;
    }
    const std::vector<int64_t> offsets = place(blocks, enough);
    for (size_t i = 0; i < blocks.size(); ++i) {
        *targets[i] = offsets[i];
        plan.arena_bytes = std::max(plan.arena_bytes, offsets[i] + place_bytes(blocks[i].bytes));
    }
}

namespace {

std::vector<bool> kept_by(const Graph& graph, const Backend& backend, const PlanOptions& options) {
    if (options.kept) return *options.kept;
    const Recompute preset = options.recompute.preset;
    if (preset == Recompute::none || preset == Recompute::automatic)
        return std::vector<bool>(graph.values().size(), true);
    return KeepLadder(graph, backend.costs(), options.keys_a_query).kept(options.recompute);
}

Plan plan_for(const Graph& graph, const Backend& backend, const Schedule& order, int64_t room,
              const PlanOptions& options) {
    Plan result;
    result.keys_a_query = options.keys_a_query;
    find_owners(graph, order, result);
    copy_steps(graph, backend, order, result);
    SharedPlaces(graph, result).find();
    note_lifetimes(graph, result);
    insert_pages(graph, backend, room, options.offload, result);
    place_all(result, options.arena_budget, options.only_if_it_fits ? options.arena_budget : INT64_MAX);
    return result;
}

}  // namespace

// Blocks do not lie without gaps: where they come out above the budget, pages get as much less room.
Plan plan(const Graph& graph, const Backend& backend, const PlanOptions& options) {
    constexpr int kTries = 4;
    const Schedule order = schedule(graph, kept_by(graph, backend, options),
                                    options.layer_by_layer ? layer_by_layer(graph) : std::vector<int32_t>{});
    int64_t room = options.arena_budget;
    Plan best = plan_for(graph, backend, order, room, options);
    for (int i = 1; i < kTries && options.arena_budget > 0 && best.device_bytes() > options.arena_budget; ++i) {
        room -= best.device_bytes() - options.arena_budget;
        if (room <= 0) break;
        Plan next = plan_for(graph, backend, order, room, options);
        if (next.device_bytes() < best.device_bytes()) best = std::move(next);
    }
    if (!options.restores) return best;
    const RestoreRoom for_restores{.most_bytes = options.arena_budget > 0 ? 0 : INT64_MAX,
                                   .beside_bytes = options.beside_bytes,
                                   .spare_bytes = options.spare_bytes,
                                   .aside = options.arena_budget == 0};
    return with_restores(graph, backend, std::move(best), for_restores);
}

TensorType type_of(const Graph& graph, const PlannedTensor& t) {
    const TensorType& type = value_of(graph, t.value).type;
    return t.restored ? TensorType{*t.restored, type.shape, {}} : type;
}

Duration duration(const Plan& plan, const Graph& graph, const Costs& costs) {
    std::vector<TensorType> types;
    std::vector<double> ends;
    std::map<Lane, double> free_at;  // by lane
    Duration result;
    for (const PlannedStep& s : plan.steps) {
        double begin = free_at[s.lane];
        const double ready = begin;
        for (int32_t before : s.after) begin = std::max(begin, ends[static_cast<size_t>(before)]);
        double seconds = 0;
        if (s.lane == Lane::compute) result.stalled += begin - ready;
        if (s.step >= 0) {
            seconds = seconds_of(graph, graph.steps()[static_cast<size_t>(s.step)], costs, plan.keys_a_query, types);
        } else if (!is_restore(s)) {
            const bool in = s.lane == Lane::in;
            const int32_t place = in ? s.out[0] : s.in[0];
            seconds = static_cast<double>(plan.tensors[static_cast<size_t>(place)].bytes) /
                      (in ? costs.copy_in : costs.copy_out);
        }
        ends.push_back(begin + seconds);
        free_at[s.lane] = ends.back();
        result.seconds = std::max(result.seconds, ends.back());
    }
    return result;
}

double flops(const Plan& plan, const Graph& graph, double keys_a_query) {
    const auto owner = [&](int32_t tensor) {
        return static_cast<size_t>(plan.tensors[static_cast<size_t>(tensor)].storage);
    };
    std::vector<bool> is_read(plan.tensors.size());
    for (const PlannedStep& s : plan.steps)
        for (int32_t tensor : s.in) is_read[owner(tensor)] = true;
    std::vector<TensorType> types;
    double sum = 0;
    for (const PlannedStep& s : plan.steps) {
        if (s.step < 0) continue;
        const Step& step = graph.steps()[static_cast<size_t>(s.step)];
        if (!step.op->flops || (s.recomputed && !is_read[owner(s.out[0])])) continue;
        OpCall call = graph.call(step, types);
        call.keys_a_query = keys_a_query;
        sum += step.op->flops(call);
    }
    return sum;
}

}  // namespace ggq
