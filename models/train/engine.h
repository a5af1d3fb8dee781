// TrainEngine: a Llama, its optimizer and the programs that train it, planned before any memory is taken.
//
//   TrainEngine engine(backend, options);      // graphs and plans only
//   engine.memory();                           // what it will take, to the byte
//   engine.allocate(load);                     // takes it; `load` fills the weights
//   engine.add_gradients(update);              // its micro-batches, forward and backward
//   engine.apply(rate);                        // clipping and AdamW
//   engine.evaluate(batch);                    // sum of losses
//
// One program for each length of micro-batch, one for the update, one for each length of validation batch: all share
// one arena, which is the largest of theirs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "ggq/program.h"
#include "models/llama.h"
#include "models/text/batches.h"
#include "models/train/parameters.h"

namespace ggq {

struct EngineOptions {
    LlamaConfig config;
    WeightChoice weights;
    std::map<std::string, DType> dtypes;  // of the checkpoint's tensors; those not named are f32
    OptimizerChoice optimizer;
    Recompute recompute = Recompute::full;
    std::vector<int64_t> train_lengths;  // tokens of a micro-batch, each that can occur
    std::vector<int64_t> eval_lengths;
    uint64_t seed = 42;
    int64_t logits_bytes = int64_t{16} << 20;  // about how many bytes of logits may exist at a time
};

// As many as keep a device busy.
int64_t logits_bytes_for(const Backend& backend);

// Bytes, as they will be allocated.
struct MemoryUse {
    int64_t weights = 0, parameters = 0, gradients = 0, optimizer = 0, inputs = 0, other_state = 0;
    int64_t arena = 0;      // temporaries and workspace
    int64_t workspace = 0;  // the largest, inside the arena
    int64_t overhead = 0;   // what the device holds for itself

    int64_t total() const { return weights + parameters + gradients + optimizer + inputs + other_state + arena; }
};

struct UpdateResult {
    double loss = 0;        // mean over the label tokens of the update
    double grad_norm = 0;   // before clipping
    bool overflow = false;  // f16 only: nothing was changed but the loss scale, and the update does not count
};

// What a checkpoint needs beside parameters and optimizer state.
struct EngineCounters {
    int64_t updates = 0;        // done
    int64_t micro_batches = 0;  // done: the random counter
    // f16: gradients are computed times this, so that small ones do not vanish. Halved when they overflow, doubled
    // after kScaleGrowth updates without (Micikevicius et al., 2018, with the constants of torch's GradScaler).
    double loss_scale = 65536;
    int64_t updates_at_scale = 0;
};

class TrainEngine {
public:
    TrainEngine(Backend& backend, EngineOptions options);

    MemoryUse memory() const;

    // Adds an arena that another user of the same memory needs (a generator for samples). Before allocate().
    void reserve_arena(int64_t bytes);
    // Takes the memory. `load` fills the weights before the arena is taken, so that what a tensor needs for a moment
    // while it is quantized adds nothing to the peak.
    void allocate(const std::function<void()>& load = {});

    // Both halves of an update.
    UpdateResult train(const Update& update, double rate);

    // Runs the micro-batches; the gradients of the mean loss over the update's label tokens, which it returns, wait in
    // parameters(). Throws Error if the loss is not finite.
    double add_gradients(const Update& update);
    // Clips, updates the parameters and zeroes the gradients; `grad_norm` and `overflow` of the result are set.
    UpdateResult apply(double rate);

    double evaluate(const MicroBatch& batch);  // sum of the losses of its labelled tokens

    Store& store() { return store_; }
    const Arena& arena() const { return *arena_; }
    Llama& llama() { return *llama_; }
    const ParameterSet& parameters() const { return *parameters_; }
    const EngineOptions& options() const { return options_; }
    EngineCounters counters() const { return counters_; }
    void set_counters(EngineCounters counters) { counters_ = counters; }
    void set_profile(Profile* profile) { profile_ = profile; }  // null: none
    const Program& micro_program() const { return micro_.begin()->second; }
    const Graph& micro_graph() const { return micro_program().graph(); }

private:
    struct Inputs {
        Buffer *ids, *labels, *positions, *spans;
    };

    // At the first update: throws Error naming the first B whose gradient is not finite or all zero, or that the update
    // left as it was.
    void check_first_gradients();
    void check_first_change();

    void declare_inputs();
    Inputs inputs_of(int64_t length);
    Program build_micro(int64_t length);
    Program build_eval(int64_t length);
    Program build_update();
    void prepare();
    bool scales_loss() const { return options_.weights.compute == DType::f16; }
    void note_overflow(bool overflow);
    void write_batch(const Inputs& in, const MicroBatch& batch);
    void run(Program& program) { program.run(profile_); }

    Backend& backend_;
    EngineOptions options_;
    Store store_;
    std::unique_ptr<ParameterSet> parameters_;
    std::unique_ptr<Llama> llama_;
    Inputs whole_{};                    // for the longest micro-batch; shorter ones are slices
    std::map<int64_t, Inputs> inputs_;  // by length
    Buffer *rng_ = nullptr, *rate_ = nullptr, *step_ = nullptr, *loss_factor_ = nullptr, *gradient_scale_ = nullptr;
    Buffer *loss_sum_ = nullptr, *eval_sum_ = nullptr;
    std::map<int64_t, Program> micro_, eval_;  // by length
    std::optional<Program> update_;
    Tensor norm_;
    int64_t arena_bytes_ = 0;
    std::unique_ptr<Arena> arena_;
    EngineCounters counters_;
    std::vector<std::vector<float>> first_b_;  // every B before the first update
    Profile* profile_ = nullptr;
};

}  // namespace ggq
