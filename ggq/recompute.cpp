#include "ggq/recompute.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

namespace ggq {

namespace {

const Value& value_of(const Graph& graph, int32_t id) { return graph.values()[static_cast<size_t>(id)]; }

// Whether all persistent memory that a step reads still holds what the step is meant to read, where `done` says which
// steps have run. One that writes state has itself overwritten what it reads there.
template <typename F>
bool reads_what_was(const Graph& graph, const Step& step, const F& done) {
    return std::ranges::none_of(step.in, [&](int32_t id) {
        const int32_t by = value_of(graph, value_of(graph, id).storage).overwritten_by;
        return by >= 0 && done(by);
    });
}

// The forward step that makes a temporary, else null.
const Step* forward_step_of(const Graph& graph, int32_t id) {
    const Value& v = value_of(graph, id);
    if (v.step < 0 || v.kind != Kind::temporary) return nullptr;
    const Step& step = graph.steps()[static_cast<size_t>(v.step)];
    return step.backward ? nullptr : &step;
}

// What a backward pass runs again, and what layers keep for that.
struct Burden {
    double seconds = 0;
    int64_t bytes = 0;
    int n_products = 0;  // steps that run again with arithmetic worth counting
};

// Backward steps of one layer of each kind, with the number of layers of that kind.
struct Sample {
    int32_t step = 0;
    int n_alike = 1;
};

// Of many layers alike it is enough to look at one.
std::vector<Sample> sample_of(const Graph& graph) {
    std::map<int32_t, std::string> kinds;  // by layer
    for (const Step& step : graph.steps()) {
        if (step.layer < 0) continue;
        std::string& kind = kinds[step.layer];
        kind += fmt::format("{} {} {}", step.op->name, step.backward, step.out.size());
        for (int32_t id : step.out) kind += to_string(value_of(graph, id).type);
    }
    std::map<std::string, std::pair<int32_t, int>> alike;  // the last layer of a kind, and how many there are
    for (const auto& [layer, kind] : kinds) alike[kind] = {layer, alike[kind].second + 1};
    std::map<int32_t, int> weight;
    for (const auto& [kind, of] : alike) weight[of.first] = of.second;
    std::vector<Sample> sample;
    for (size_t i = 0; i < graph.steps().size(); ++i) {
        const Step& step = graph.steps()[i];
        const auto found = weight.find(step.layer);
        if (step.backward && (step.layer < 0 || found != weight.end()))
            sample.push_back({static_cast<int32_t>(i), step.layer < 0 ? 1 : found->second});
    }
    return sample;
}

// Adds it up without making the steps.
class Weigher {
public:
    Weigher(const Graph& graph, const std::vector<Sample>& sample, const std::vector<bool>& kept,
            const std::vector<double>& step_seconds)
        : graph_(graph),
          sample_(sample),
          kept_(kept),
          step_seconds_(step_seconds),
          again_(graph.steps().size()),
          held_(graph.values().size()) {}

    Burden run() {
        for (const Sample& s : sample_) {
            now_ = s.step;
            weight_ = s.n_alike;
            for (int32_t id : graph_.steps()[static_cast<size_t>(now_)].in) need(id);
        }
        return sum_;
    }

private:
    void need(int32_t id) {
        const Step* step = forward_step_of(graph_, id);
        if (!step) return;
        const auto number = static_cast<size_t>(value_of(graph_, id).step);
        const bool there = kept_[static_cast<size_t>(id)];
        if (!there && again_[number]) return;
        if (there || !reads_what_was(graph_, *step, [&](int32_t by) { return by < now_; }))
            return hold(value_of(graph_, id).storage);
        again_[number] = true;
        sum_.seconds += weight_ * step_seconds_[number];
        sum_.n_products += step->op->flops != nullptr;
        for (int32_t in : step->in) need(in);
    }

    void hold(int32_t storage) {
        const Step* step = forward_step_of(graph_, storage);
        if (!step || step->layer < 0 || held_[static_cast<size_t>(storage)]) return;
        held_[static_cast<size_t>(storage)] = true;
        sum_.bytes += weight_ * value_of(graph_, storage).type.bytes();
    }

    const Graph& graph_;
    const std::vector<Sample>& sample_;
    const std::vector<bool>& kept_;
    const std::vector<double>& step_seconds_;
    std::vector<bool> again_, held_;  // by step, by storage
    int32_t now_ = 0;
    int weight_ = 1;
    Burden sum_;
};

// What passes between layers, and what is outside of them.
std::vector<bool> kept_between_layers(const Graph& graph) {
    const auto layer_of = [&](int32_t id) {
        const int32_t step = value_of(graph, id).step;
        return step < 0 ? -1 : graph.steps()[static_cast<size_t>(step)].layer;
    };
    std::vector<bool> kept(graph.values().size());
    for (size_t id = 0; id < kept.size(); ++id)
        kept[id] = layer_of(static_cast<int32_t>(id)) < 0 || value_of(graph, graph.values()[id].storage).output;
    for (const Step& step : graph.steps())
        for (int32_t id : step.in)
            if (!step.backward && layer_of(id) != step.layer) {
                kept[static_cast<size_t>(id)] = true;
                kept[static_cast<size_t>(value_of(graph, id).storage)] = true;
            }
    return kept;
}

}  // namespace

double seconds_of(const Graph& graph, const Step& step, const Costs& costs, double keys_a_query,
                  std::vector<TensorType>& types) {
    OpCall call = graph.call(step, types);
    call.keys_a_query = keys_a_query;
    return costs.seconds(call);
}

KeepLadder::KeepLadder(const Graph& graph, const Costs& costs, double keys_a_query)
    : graph_(graph), base_(kept_between_layers(graph)) {
    find_classes();
    std::vector<double> seconds;
    std::vector<TensorType> types;
    for (const Step& step : graph.steps())
        seconds.push_back(step.op->view || step.backward ? 0 : seconds_of(graph, step, costs, keys_a_query, types));
    climb(seconds);
}

// Layers are alike, and so are the tiles of one, and passes over it: their steps are told apart by their order.
void KeepLadder::find_classes() {
    struct Place {
        int32_t layer = -1, tile = -1;
        int next = 0, next_in_tile = 0;
    };
    std::map<std::pair<bool, int>, int> numbers;  // of classes, by whether they are in a tile and their order there
    Place at;
    class_.assign(graph_.steps().size(), -1);
    for (size_t i = 0; i < class_.size(); ++i) {
        const Step& step = graph_.steps()[i];
        if (!in_layer(step)) {
            at.layer = -1;
            continue;
        }
        if (step.layer != at.layer) at = {.layer = step.layer};
        if (step.tile != at.tile) at.next_in_tile = 0;
        at.tile = step.tile;
        const bool in_tile = step.tile >= 0;
        const int order = in_tile ? at.next_in_tile++ : at.next++;
        class_[i] = numbers.try_emplace({in_tile, order}, static_cast<int>(numbers.size())).first->second;
        n_layers_ = std::max(n_layers_, step.layer + 1);
    }
    n_classes_ = static_cast<int>(numbers.size());
}

void KeepLadder::keep_class(int number, bool keep, std::vector<bool>& kept) const {
    for (size_t i = 0; i < class_.size(); ++i)
        if (class_[i] == number)
            for (int32_t id : graph_.steps()[i].out)
                kept[static_cast<size_t>(id)] = keep || base_[static_cast<size_t>(id)];
}

void KeepLadder::climb(const std::vector<double>& seconds) {
    constexpr int64_t kSmall = 16;  // times smaller than what passes between layers
    const std::vector<Sample> sample = sample_of(graph_);
    const auto weigh = [&](const std::vector<bool>& kept) { return Weigher(graph_, sample, kept, seconds).run(); };
    std::vector<bool> kept = base_;
    Burden now = weigh(kept);
    const int64_t small = now.bytes / kSmall;
    constexpr int kNever = -1;
    first_rung_.assign(static_cast<size_t>(n_classes_), kNever);
    rungs_ = {{now.seconds, now.bytes}};
    selective_ = now.n_products == 0 ? 0 : kNever;
    while (now.seconds > 0) {
        int best = kNever;
        double best_rate = 0;
        for (int c = 0; c < n_classes_; ++c) {
            if (first_rung_[static_cast<size_t>(c)] != kNever) continue;
            keep_class(c, true, kept);
            const Burden with = weigh(kept);
            keep_class(c, false, kept);
            const double saved = now.seconds - with.seconds;
            const double rate = saved / static_cast<double>(std::max<int64_t>(with.bytes - now.bytes, 1));
            if (saved <= 0 || rate <= best_rate) continue;
            best = c;
            best_rate = rate;
        }
        if (best == kNever) break;
        keep_class(best, true, kept);
        const Burden with = weigh(kept);
        const bool is_small = rungs_.size() == 1 && with.bytes - now.bytes <= small;
        if (!is_small) rungs_.emplace_back();
        rungs_.back() = {with.seconds, with.bytes};
        first_rung_[static_cast<size_t>(best)] = n_rungs() - 1;
        now = with;
        if (now.n_products == 0 && selective_ == kNever) selective_ = n_rungs() - 1;
    }
    if (selective_ == kNever) selective_ = n_rungs() - 1;
    for (int& rung : first_rung_)
        if (rung == kNever) rung = n_rungs();
}

std::vector<bool> KeepLadder::kept(std::span<const int> rung_of_layer) const {
    std::vector<bool> kept = base_;
    for (size_t i = 0; i < class_.size(); ++i) {
        const Step& step = graph_.steps()[i];
        if (class_[i] < 0) continue;
        const int rung = rung_of_layer[static_cast<size_t>(step.layer)];
        if (rung < first_rung_[static_cast<size_t>(class_[i])]) continue;
        for (int32_t id : step.out) kept[static_cast<size_t>(id)] = true;
    }
    return kept;
}

std::vector<bool> KeepLadder::kept(const RecomputeChoice& choice) const {
    const int everything = n_rungs();  // what saves nothing included
    const Recompute preset = choice.preset;
    const int rung = preset == Recompute::full ? 0 : preset == Recompute::selective ? selective_ : everything;
    std::vector<int> rungs(static_cast<size_t>(n_layers_), rung);
    if (preset == Recompute::partial) std::fill_n(rungs.begin(), std::min(choice.n_layers, n_layers_), 0);
    return kept(rungs);
}

int64_t KeepLadder::bytes_at(int level) const {
    if (n_layers_ == 0) return 0;
    const int whole = level / n_layers_, rest = level % n_layers_;
    const int64_t bytes = rung(whole).bytes;
    return rest == 0 ? bytes : bytes + (rung(whole + 1).bytes - bytes) * rest / n_layers_;
}

std::vector<bool> KeepLadder::kept_at(int level) const {
    const int whole = n_layers_ > 0 ? level / n_layers_ : 0, rest = n_layers_ > 0 ? level % n_layers_ : 0;
    std::vector<int> rungs(static_cast<size_t>(n_layers_), whole);
    std::fill_n(rungs.begin(), rest, whole + 1);
    return kept(rungs);
}

namespace {

class Scheduler {
public:
    Scheduler(const Graph& graph, const std::vector<bool>& kept, std::vector<int32_t> order)
        : graph_(graph),
          kept_(kept),
          order_(std::move(order)),
          done_(graph.steps().size()),
          made_(graph.values().size()) {
        if (order_.empty()) {
            order_.resize(graph.steps().size());
            std::iota(order_.begin(), order_.end(), 0);
        }
        for (size_t id = 0; id < graph.values().size(); ++id) result_.values.push_back(static_cast<int32_t>(id));
        again_.assign(graph.values().size(), -1);
    }

    Schedule run() {
        for (int32_t step : order_) emit(step);
        return std::move(result_);
    }

private:
    void emit(int32_t index) {
        const Step& step = graph_.steps()[static_cast<size_t>(index)];
        GGQ_ASSERT(reads_what_was(step), std::string(step.op->name) + " reads a version that is gone");
        for (int32_t id : step.in)
            GGQ_ASSERT(value_of(graph_, id).step < 0 || made_[static_cast<size_t>(id)],
                       std::string(step.op->name) + " comes before what it reads is made");
        for (int32_t id : step.out) made_[static_cast<size_t>(id)] = true;
        done_[static_cast<size_t>(index)] = true;
        ScheduledStep s{index, step.in, step.out, false};
        if (step.backward)
            for (int32_t& id : s.in) id = available(id);
        result_.steps.push_back(std::move(s));
    }

    // The tensor to read for a value in the backward pass: itself if kept, else one recomputed now or before.
    int32_t available(int32_t id) {
        const Step* step = forward_step_of(graph_, id);
        if (!step || kept_[static_cast<size_t>(id)]) return id;
        int32_t& again = again_[static_cast<size_t>(id)];
        if (again < 0 && !reads_what_was(*step)) return id;
        if (again < 0) recompute(value_of(graph_, id).step);
        return again;
    }

    bool reads_what_was(const Step& step) const {
        return ggq::reads_what_was(graph_, step,
                                   [&](int32_t by) { return static_cast<bool>(done_[static_cast<size_t>(by)]); });
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
    std::vector<int32_t> order_;
    std::vector<bool> done_, made_;  // by step, by value
    Schedule result_;
};

}  // namespace

Schedule schedule(const Graph& graph, const std::vector<bool>& kept, std::vector<int32_t> order) {
    return Scheduler(graph, kept, std::move(order)).run();
}

}  // namespace ggq
