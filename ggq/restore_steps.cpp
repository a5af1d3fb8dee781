#include "ggq/restore_steps.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "ggq/backend.h"
#include "ggq/op_table.h"
#include "ggq/page_policy.h"
#include "kernels/params.h"
#include "kernels/rounding.h"

namespace ggq {

RestoreCall::RestoreCall(const TensorType& codes, DType to)
    : in_(codes), out_{to, codes.shape, {}}, params_(CastParams{to}) {}

RestoreCall::RestoreCall(const Graph& graph, const Plan& plan, const PlannedStep& s)
    : RestoreCall(type_of(graph, plan.tensors[static_cast<size_t>(s.in[0])]),
                  type_of(graph, plan.tensors[static_cast<size_t>(s.out[0])]).dtype) {}

OpCall RestoreCall::call() const { return {dequantize_op, {&in_, 1}, {&out_, 1}, params_, {}}; }

namespace {

class RestoreSteps {
public:
    RestoreSteps(const Graph& graph, const Backend& backend, int64_t room, Plan& plan, Lane lane)
        : graph_(graph),
          backend_(backend),
          costs_(backend.costs()),
          room_(room),
          aside_(lane == Lane::aside),
          plan_(plan),
          n_steps_(plan.steps.size()),
          use_at_(n_steps_) {}

    bool run() {
        find_uses();
        if (problem_.pages.empty()) return false;
        find_room();
        stays_ = plan_stays(problem_, 0);  // to share is worth more than to run ahead: no room is left free for that
        add_steps();
        count_lifetimes_anew();
        return true;
    }

private:
    // A weight in the type in which it is used.
    struct Weight {
        TensorType type;
        bool on_host = false;
    };
    // What a step restores.
    struct Use {
        int32_t weight = -1;  // -1: nothing
        int input = -1;
        int64_t workspace_bytes = 0;  // beside it
    };

    // The codes of a paged weight are there around its use.
    bool is_aside(const Stay& s) const { return aside_ && !weight_of(s).on_host; }

    PlannedTensor& tensor(int32_t index) { return plan_.tensors[static_cast<size_t>(index)]; }
    const Weight& weight_of(const Stay& s) const { return weights_[static_cast<size_t>(s.page)]; }

    void find_uses() {
        std::map<std::pair<const Buffer*, DType>, int32_t> known;
        std::vector<TensorType> types;
        for (size_t i = 0; i < n_steps_; ++i) {
            const PlannedStep& s = plan_.steps[i];
            problem_.seconds.push_back(0);
            if (s.lane != Lane::compute) continue;
            const Step& step = graph_.steps()[static_cast<size_t>(s.step)];
            problem_.seconds.back() = seconds_of(graph_, step, costs_, plan_.keys_a_query, types);
            const OpCall call = graph_.call(step, types);
            const int input = backend_.restores(call);
            if (input < 0) continue;
            const int32_t w = s.in[static_cast<size_t>(input)];
            const Value& v = graph_.values()[static_cast<size_t>(tensor(w).value)];
            if (!can_be_restored(v)) continue;
            const TensorType type{types[0].dtype, v.type.shape, {}};
            const auto [found, is_new] =
                known.try_emplace({v.buffer, type.dtype}, static_cast<int32_t>(weights_.size()));
            if (is_new) add_weight(v, type);
            problem_.pages[static_cast<size_t>(found->second)].uses.push_back({static_cast<int32_t>(i), false});
            types[static_cast<size_t>(input)] = type;
            use_at_[i] = {found->second, input, backend_.workspace_bytes(call)};
        }
    }

    // Only what nobody writes is the same whenever it is restored.
    static bool can_be_restored(const Value& v) {
        return v.kind == Kind::constant && v.buffer && v.buffer->root().residence != Residence::mapped;
    }

    void add_weight(const Value& v, const TensorType& type) {
        weights_.push_back({type, v.buffer->on_host()});
        problem_.pages.push_back({.bytes = place_bytes(type.bytes())});
        if (weights_.size() > 1) return;
        const RestoreCall restore(v.type, type.dtype);
        problem_.copy_in = static_cast<double>(type.bytes()) / costs_.seconds(restore.call());
    }

    // What all others leave.
    void find_room() {
        std::vector<int64_t> change(n_steps_ + 2, 0);
        for (size_t i = 0; i < plan_.tensors.size(); ++i) {
            const PlannedTensor& t = plan_.tensors[i];
            if (t.storage != static_cast<int32_t>(i) || t.bytes == 0 || t.last < 0 || t.in_place) continue;
            change[static_cast<size_t>(t.first)] += place_bytes(t.bytes);
            change[static_cast<size_t>(t.last) + 1] -= place_bytes(t.bytes);
        }
        int64_t taken = 0;
        for (size_t i = 0; i < n_steps_; ++i) {
            taken += change[i];
            const int64_t workspace =
                use_at_[i].weight >= 0 ? use_at_[i].workspace_bytes : plan_.steps[i].workspace_bytes;
            problem_.room.push_back(room_ - taken - place_bytes(workspace));
        }
    }

    void add_steps() {
        old_ = std::move(plan_.steps);
        plan_.steps.clear();
        plan_.workspace_bytes = 0;
        std::vector<std::vector<int32_t>> restored_at(n_steps_);
        for (size_t i = 0; i < stays_.size(); ++i) {
            Stay& s = stays_[i];
            if (!is_aside(s)) s.fetch = s.first;
            restored_at[static_cast<size_t>(s.fetch)].push_back(static_cast<int32_t>(i));
        }
        now_.resize(weights_.size());
        for (size_t i = 0; i < n_steps_; ++i) {
            for (int32_t stay : restored_at[i]) restore(stays_[static_cast<size_t>(stay)]);
            take_step(i);
        }
    }

    int32_t codes_of(const Stay& s) const {
        const auto first = static_cast<size_t>(s.first);
        return old_[first].in[static_cast<size_t>(use_at_[first].input)];
    }
    // The copy that brings the codes of a paged weight.
    int32_t came_at(int32_t codes) const {
        const auto place = static_cast<size_t>(plan_.tensors[static_cast<size_t>(codes)].storage);
        return plan_.tensors[place].first;
    }

    // Its memory was that of ops before.
    void restore(const Stay& s) {
        const int32_t codes = codes_of(s);
        const TensorType& type = weight_of(s).type;
        const auto index = static_cast<int32_t>(plan_.tensors.size()), at = static_cast<int32_t>(plan_.steps.size());
        plan_.tensors.push_back({.value = tensor(codes).value,
                                 .storage = index,
                                 .bytes = type.bytes(),
                                 .first = at,
                                 .last = s.last,
                                 .restored = type.dtype});
        const bool aside = is_aside(s);
        PlannedStep step{.in = {codes}, .out = {index}, .lane = aside ? Lane::aside : Lane::compute};
        if (aside && last_op_ > op_waited_for_) step.after.push_back(op_waited_for_ = last_op_);
        if (weight_of(s).on_host) step.after.push_back(new_index_[static_cast<size_t>(came_at(codes))]);
        plan_.steps.push_back(std::move(step));
        now_[static_cast<size_t>(s.page)] = {index, at, aside};
    }

    void take_step(size_t i) {
        PlannedStep s = std::move(old_[i]);
        for (int32_t& before : s.after) before = new_index_[static_cast<size_t>(before)];
        if (use_at_[i].weight >= 0) read_restored(use_at_[i], s);
        plan_.workspace_bytes = std::max(plan_.workspace_bytes, s.workspace_bytes);
        const auto at = static_cast<int32_t>(plan_.steps.size());
        if (s.lane == Lane::compute) last_op_ = at;
        new_index_.push_back(at);
        plan_.steps.push_back(std::move(s));
    }

    // Who has waited for a step of the lane has waited for all before it.
    void read_restored(const Use& use, PlannedStep& s) {
        const Restored& r = now_[static_cast<size_t>(use.weight)];
        s.in[static_cast<size_t>(use.input)] = r.tensor;
        s.workspace_bytes = use.workspace_bytes;
        if (r.aside && r.step > restore_waited_for_) s.after.push_back(restore_waited_for_ = r.step);
    }

    // The op that comes after a copy out waits for it, not a step that restores before that op.
    void count_lifetimes_anew() {
        const auto n_old = plan_.tensors.size() - stays_.size();
        std::vector<bool> copied_out(plan_.tensors.size());
        for (const PlannedStep& s : plan_.steps)
            if (s.lane == Lane::out) copied_out[static_cast<size_t>(tensor(s.in[0]).storage)] = true;
        new_index_.push_back(static_cast<int32_t>(plan_.steps.size()));  // of what stays after the last step
        for (size_t i = 0; i < plan_.tensors.size(); ++i) {
            PlannedTensor& t = plan_.tensors[i];
            if (t.last < 0) continue;
            const auto last = static_cast<size_t>(t.last);
            if (i < n_old) t.first = new_index_[static_cast<size_t>(t.first)];
            t.last = copied_out[i] && last < n_steps_ ? new_index_[last + 1] - 1 : new_index_[last];
        }
    }

    struct Restored {
        int32_t tensor = -1, step = -1;
        bool aside = false;
    };

    const Graph& graph_;
    const Backend& backend_;
    const Costs costs_;
    int64_t room_;
    bool aside_;
    Plan& plan_;
    size_t n_steps_;
    std::vector<Use> use_at_;      // by step
    std::vector<Weight> weights_;  // by page
    PagingProblem problem_;
    std::vector<Stay> stays_;
    std::vector<PlannedStep> old_;
    std::vector<int32_t> new_index_;  // by step
    std::vector<Restored> now_;       // by weight: the newest
    int32_t last_op_ = -1, op_waited_for_ = -1, restore_waited_for_ = -1;
};

}  // namespace

int64_t most_restores(const Graph& graph, const Backend& backend, const Plan& plan) {
    std::vector<TensorType> types;
    return std::ranges::count_if(plan.steps, [&](const PlannedStep& s) {
        return s.step >= 0 && backend.restores(graph.call(graph.steps()[static_cast<size_t>(s.step)], types)) >= 0;
    });
}

bool insert_restores(const Graph& graph, const Backend& backend, int64_t room, Plan& plan, Lane lane) {
    return RestoreSteps(graph, backend, room, plan, lane).run();
}

namespace {

// Where blocks come out above the arena, restored weights get less room, and at last none but at their use.
std::optional<Plan> restored_within(const Graph& graph, const Backend& backend, const Plan& plan, Lane lane,
                                    int64_t arena_bytes) {
    constexpr int kTries = 4;
    int64_t room = arena_bytes - (plan.arena_bytes - plan.live_bytes);
    for (int i = 1; i <= kTries; ++i) {
        Plan next = plan;
        if (i < kTries) insert_restores(graph, backend, room, next, lane);
        else insert_restores(graph, backend, 0, next);
        place_all(next, arena_bytes);
        if (next.arena_bytes <= arena_bytes) return next;
        room -= next.arena_bytes - arena_bytes;
    }
    return std::nullopt;
}

// As far as other work waits for it: of what runs beside products of 512 rows a tenth was hidden on an H200.
double restore_seconds(const Graph& graph, const Costs& costs, const Plan& plan) {
    constexpr double kNotHidden = 0.9;
    double sum = 0;
    for (const PlannedStep& s : plan.steps)
        if (is_restore(s))
            sum += (s.lane == Lane::aside ? kNotHidden : 1) * costs.seconds(RestoreCall(graph, plan, s).call());
    return sum;
}

int64_t largest_restored(const Graph& graph, const Plan& plan) {
    int64_t largest = 0;
    for (const PlannedTensor& t : plan.tensors)
        if (t.restored) largest = std::max(largest, type_of(graph, t).bytes());
    return place_bytes(largest);
}

}  // namespace

// Beside the room that there is, room for up to three of the widest is tried: a layer reads its two widest weights one
// after the other, forward and back. It stays small beside any card: what runs take without a budget is part of what
// they promise.
Plan with_restores(const Graph& graph, const Backend& backend, Plan plan, const RestoreRoom& room) {
    constexpr int kMost = 3;
    constexpr int64_t kMostMore = int64_t{256} << 20;
    constexpr double kWorthALane = 0.05;  // of the time: beside products of many rows nothing is hidden
    const Plan plain = plan;
    Plan apart = plain;  // each use has its own, as when products restore by themselves
    if (!insert_restores(graph, backend, 0, apart)) return plan;
    const Costs costs = backend.costs();
    const int64_t there = std::max(room.arena_bytes, plan.arena_bytes), step = largest_restored(graph, apart);
    const double seconds = duration(plan, graph, costs).seconds;
    const auto bytes = static_cast<double>(there + room.beside_bytes);
    const double share = restore_seconds(graph, costs, apart) / seconds;
    const Lane lane = room.aside && share > kWorthALane ? Lane::aside : Lane::compute;
    if (room.spare_bytes > 0 && plain.n_recomputed == 0) {
        std::optional<Plan> kept = restored_within(graph, backend, plain, lane, there + room.spare_bytes);
        if (kept && kept->n_restores() < apart.n_restores()) return std::move(*kept);
    }
    double least = share + static_cast<double>(there) / bytes;
    for (int i = 0; i <= kMost; ++i) {
        const int64_t arena = there + i * step;
        const bool allowed = room.beside_bytes > 0 && arena <= room.most_bytes && i * step <= kMostMore;
        if (i > 0 && !allowed) break;
        std::optional<Plan> next = restored_within(graph, backend, plain, lane, arena);
        if (!next) continue;
        const double now = restore_seconds(graph, costs, *next) / seconds +
                           static_cast<double>(std::max(there, next->arena_bytes)) / bytes;
        if (now >= least) continue;
        least = now;
        plan = std::move(*next);
    }
    return plan;
}

}  // namespace ggq
