// TrainEngine: a Llama, its optimizer and the programs that train it.
//
//   ProgramSet set(backend);
//   TrainEngine engine(set, model, options);   // declares and plans; set.memory() says what it will take
//   set.allocate([&] { load_weights(set.store(), engine.llama(), *model.weights); });
//   engine.add_gradients(update);              // its micro-batches, forward and backward
//   engine.apply(rate);                        // clipping and AdamW
//
// One program for each length of micro-batch, and one for the update.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "ggq/program_set.h"
#include "models/batch_inputs.h"
#include "models/llama.h"
#include "models/text/batches.h"
#include "models/train/parameters.h"

namespace ggq {

struct EngineOptions {
    WeightChoice weights;
    OptimizerChoice optimizer;
    RecomputeChoice recompute = Recompute::full;
    std::vector<int64_t> lengths;  // tokens of a micro-batch, each that can occur
    int64_t grad_accum = 1;        // micro-batches in an update, for estimates of time
    int64_t together = 1;          // micro-batches of an update that go through each layer before any goes to the next
    uint64_t seed = 42;            // of dropout
    int64_t document = 0;          // tokens of the longest document, for estimates of time; 0: not known
    std::optional<int64_t> mlp_tile = {};  // see ForwardOptions; nothing: mlp_tile_for()
    bool page_all = false;  // what may be paged is, kept values wait on the host, and none stays longer than it must
    bool restores = true;   // quantized weights in steps of their own, where that is worth it; same bits
};

struct UpdateResult {
    double loss = 0;        // mean over the label tokens of the update
    double grad_norm = 0;   // before clipping
    bool overflow = false;  // f16 only: nothing was changed but the loss scale, and the update does not count
};

// Bounds of the loss scale: what overflows below the least is not finite anyway, and nothing needs more than the most.
inline constexpr double kLeastLossScale = 0x1p-19, kMostLossScale = 0x1p64;

// What a checkpoint needs beside parameters and optimizer state.
struct EngineCounters {
    int64_t updates = 0;        // done
    int64_t micro_batches = 0;  // done: the random counter
    // f16: gradients are computed times this, so that small ones do not vanish. Halved when they overflow, doubled
    // after kScaleGrowth updates without (Micikevicius et al., 2018, with the constants of torch's GradScaler).
    double loss_scale = 65536;  // a power of two from kLeastLossScale to kMostLossScale
    int64_t updates_at_scale = 0;
};

class TrainEngine {
public:
    // `set` must outlive it.
    TrainEngine(ProgramSet& set, const Model& model, EngineOptions options);
    TrainEngine(const TrainEngine&) = delete;
    TrainEngine& operator=(const TrainEngine&) = delete;

    // Both halves of an update.
    UpdateResult train(const Update& update, double rate);

    // Runs the micro-batches; the gradients of the mean loss over the update's label tokens, which it returns, wait in
    // parameters(). Throws Error if the loss is not finite.
    double add_gradients(const Update& update);
    // Clips, updates the parameters and zeroes the gradients; `grad_norm` and `overflow` of the result are set.
    UpdateResult apply(double rate);

    Store& store() { return store_; }
    Llama& llama() { return *llama_; }
    const Llama& llama() const { return *llama_; }
    const ParameterSet& parameters() const { return *parameters_; }
    const EngineOptions& options() const { return options_; }
    EngineCounters counters() const { return counters_; }
    PageTraffic traffic() const { return traffic_; }  // since the engine was made
    void set_counters(EngineCounters counters) { counters_ = counters; }
    void set_profile(Profile* profile) { profile_ = profile; }  // null: none
    const Program& micro_program() const { return *micro_.begin()->second; }
    // Whether micro-batches can go through the layers together: every trained tensor is used in one layer only, whose
    // gradients are then summed in the order of the micro-batches.
    bool can_run_together() const { return !options_.weights.train_all || !llama_->config.tie_word_embeddings; }
    const Program* together_program() const { return together_.empty() ? nullptr : together_.begin()->second; }
    const Program& update_program() const { return *update_; }
    const Graph& micro_graph() const { return micro_program().graph(); }

private:
    // At the first update: throws Error naming the first B whose gradient is not finite or all zero, or that the update
    // left as it was.
    void check_first_gradients();
    void check_first_change();

    void declare_scalars();
    void add_micro(ProgramSet& set, int64_t length);
    void add_together(ProgramSet& set, int64_t length);
    WorkingCopies append_copies(Graph& graph) const;
    void append_pass(Graph& graph, BatchInputs& inputs, int64_t length, const WorkingCopies& copies);
    PlanOptions plan_options() const;
    bool runs_together(const Update& update) const;
    void add_update(ProgramSet& set);
    bool scales_loss() const { return options_.weights.compute() == DType::f16; }
    void note_overflow(bool overflow);
    void run(Program& program);

    EngineOptions options_;
    Store& store_;
    std::unique_ptr<ParameterSet> parameters_;
    std::unique_ptr<Llama> llama_;
    std::deque<BatchInputs> inputs_;  // one for each micro-batch that runs together with others
    Buffer *rate_ = nullptr, *step_ = nullptr, *loss_factor_ = nullptr, *gradient_scale_ = nullptr;
    Buffer* loss_sum_ = nullptr;
    std::map<int64_t, Program*> micro_;     // by length
    std::map<int64_t, Program*> together_;  // several micro-batches of a length
    Program* update_ = nullptr;
    Tensor norm_;
    EngineCounters counters_;
    std::vector<std::vector<float>> first_b_;  // every B before the first update
    Profile* profile_ = nullptr;
    PageTraffic traffic_;
};

}  // namespace ggq
