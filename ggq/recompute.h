// Which forward values a backward pass keeps and which it makes again.
//
// The decision is a set of kept values; schedule() turns it into steps: wherever a backward step reads a value that is
// not kept, the forward steps that lead to it from kept ones are run once more, just before. What no backward step asks
// for is thus never recomputed: of a layer without adapters its last product.
//
// A step that writes state, or reads persistent memory that was overwritten since, would not make the same values
// again. What it made the first time is then read, kept or not.
#pragma once

#include <span>
#include <vector>

#include "ggq/costs.h"
#include "ggq/graph.h"

namespace ggq {

enum class Recompute : uint8_t {
    none,       // every value that a backward step reads is kept
    selective,  // no product and no attention runs twice
    partial,    // full in some layers, none in the others
    full,       // between layers only: one tensor a layer, and what is small beside it and saves much
    automatic   // as little as the memory allows
};

struct RecomputeChoice {
    Recompute preset = Recompute::none;
    int32_t n_layers = 0;  // of partial: so many, from the first on, recompute all

    RecomputeChoice(Recompute value, int32_t layers = 0) : preset(value), n_layers(layers) {}
    bool operator==(const RecomputeChoice&) const = default;
};

// The ways to run a graph's layers, from the leanest to the fastest. Rung 0 is `full`; each next rung keeps what one
// more step of every layer makes, the one that saves most time a byte; on the last nothing is recomputed.
class KeepLadder {
public:
    struct Rung {
        double seconds = 0;  // of the steps that run again
        int64_t bytes = 0;   // of what layers keep for the backward pass, but for a layer's input or so
    };

    // `keys_a_query`: the mean that attention's spans will name; 0: not known.
    KeepLadder(const Graph& graph, const Costs& costs, double keys_a_query = 0);

    int n_rungs() const { return static_cast<int>(rungs_.size()); }
    const Rung& rung(int i) const { return rungs_[static_cast<size_t>(i)]; }
    int n_layers() const { return n_layers_; }
    int selective() const { return selective_; }

    // What is kept, by value id, with a rung for each layer. What is outside of layers always is.
    std::vector<bool> kept(std::span<const int> rung_of_layer) const;
    std::vector<bool> kept(const RecomputeChoice& choice) const;

    // The levels between full (0) and none (n_levels() - 1): layer after layer climbs a rung.
    int n_levels() const { return (n_rungs() - 1) * n_layers_ + 1; }
    std::vector<bool> kept_at(int level) const;
    int64_t bytes_at(int level) const;  // kept by layers

private:
    bool in_layer(const Step& step) const { return !step.backward && step.layer >= 0; }
    void find_classes();
    void climb(const std::vector<double>& seconds);
    void keep_class(int number, bool keep, std::vector<bool>& kept) const;

    const Graph& graph_;
    int n_layers_ = 0;
    std::vector<int> class_;  // by step: its number within its layer, -1 outside of layers and in the backward pass
    int n_classes_ = 0;
    std::vector<int> first_rung_;  // by class: the rung from which on it is kept; n_rungs() if it saves nothing
    std::vector<bool> base_;       // kept on rung 0, classes of that rung not counted
    std::vector<Rung> rungs_;
    int selective_ = 0;
};

// What a step costs; `types` holds memory that is used again.
double seconds_of(const Graph& graph, const Step& step, const Costs& costs, double keys_a_query,
                  std::vector<TensorType>& types);

// One step to run; tensor numbers index Schedule::values.
struct ScheduledStep {
    int32_t step = 0;  // of the graph
    std::vector<int32_t> in, out;
    bool recomputed = false;
};

struct Schedule {
    std::vector<int32_t> values;  // the graph's value behind each tensor; a recomputed value has a tensor of its own
    std::vector<ScheduledStep> steps;
};

// `order`: of the graph's steps, each before whoever reads what it makes; empty: as they stand.
Schedule schedule(const Graph& graph, const std::vector<bool>& kept, std::vector<int32_t> order = {});

}  // namespace ggq
