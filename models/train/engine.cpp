#include "models/train/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/transfer.h"
#include "models/model.h"

namespace ggq {

namespace {

std::unique_ptr<ParameterSet> declare_parameters(Store& store, const LlamaConfig& config, const EngineOptions& o) {
    const DType master = o.weights.train_all ? DType::f32 : o.weights.adapter_dtype;
    return std::make_unique<ParameterSet>(store, trained_tensors(config, o.weights), master, o.optimizer);
}

}  // namespace

TrainEngine::TrainEngine(ProgramSet& set, const Model& model, EngineOptions options)
    : options_(std::move(options)),
      store_(set.store()),
      parameters_(declare_parameters(store_, model.config, options_)),
      llama_(declare_llama(store_, model, options_.weights, parameters_->by_name())) {
    for (Buffer* b : store_.declared())
        if (options_.page_all && b->pageable) store_.set_residence(*b, Residence::paged);
    require(
        options_.together <= 1 || can_run_together(),
        "micro-batches cannot go through the layers together where the embedding table is trained and the head too; "
        "run them one by one");
    const int64_t longest = *std::ranges::max_element(options_.lengths);
    for (int64_t i = 0; i < options_.together; ++i) inputs_.emplace_back(store_, longest);
    declare_scalars();
    for (int64_t length : options_.lengths) {
        add_micro(set, length);
        if (options_.together > 1) add_together(set, length);
    }
    add_update(set);
}

void TrainEngine::declare_scalars() {
    const auto scalar = [&](const char* name, Kind kind, DType dtype) {
        return &store_.declare(name, kind, {dtype, {1}, {}});
    };
    rate_ = scalar("rate", Kind::input, DType::f32);
    step_ = scalar("step", Kind::input, DType::i64);
    loss_factor_ = scalar("loss_factor", Kind::input, DType::f32);
    gradient_scale_ = scalar("gradient_scale", Kind::input, DType::f32);
    loss_sum_ = scalar("loss_sum", Kind::state, DType::f32);
}

// Adapters are small and used often: all are cast at once. What is trained in full is cast where it is used.
WorkingCopies TrainEngine::append_copies(Graph& graph) const {
    return options_.weights.train_all ? WorkingCopies{} : parameters_->append_copies(graph, options_.weights.compute());
}

// Forward, loss and the gradients of one micro-batch, added to what there is.
void TrainEngine::append_pass(Graph& graph, BatchInputs& inputs, int64_t length, const WorkingCopies& copies) {
    const int64_t tile = options_.mlp_tile.value_or(mlp_tile_for(length));
    const Tensor hidden = llama_hidden(graph, *llama_, inputs.bind(graph, length),
                                       {.dropout = true, .copies = &copies, .mlp_tile = tile});
    const HeadGradient head = options_.weights.train_all ? HeadGradient::input_and_weight : HeadGradient::input;
    const Tensor labels = inputs.bind_labels(graph, length);
    const Tensor loss = llama_loss(graph, *llama_, hidden, labels, head, logits_bytes_for(store_.backend()));
    accumulate(graph.bind(*loss_sum_), loss);
    const Tensor mean = scale_by(loss, graph.bind(*loss_factor_));
    std::vector<Tensor> params;
    for (const TrainedParameter& p : parameters_->parameters()) {
        const auto copy = copies.find(p.param);
        params.push_back(copy == copies.end() ? graph.bind(*p.param) : copy->second);
    }
    backward(mean, params, [&](std::span<const GradientPart> parts) {
        std::vector<Tensor> sums, terms;
        for (const GradientPart& part : parts) {
            sums.push_back(graph.bind(*parameters_->parameters()[part.param].gradient));
            terms.push_back(part.gradient);
        }
        accumulate(sums, terms);
    });
}

PlanOptions TrainEngine::plan_options() const {
    return {.recompute = options_.recompute,
            .arena_budget = options_.page_all ? 1 : 0,
            .offload = options_.page_all,
            .restores = options_.restores,
            .runs = static_cast<double>(options_.grad_accum),
            .keys_a_query = static_cast<double>(options_.document) / 2};
}

void TrainEngine::add_micro(ProgramSet& set, int64_t length) {
    auto graph = std::make_shared<Graph>();
    append_pass(*graph, inputs_.front(), length, append_copies(*graph));
    PlanOptions options = plan_options();
    if (options_.together > 1) options.runs = 0;  // for the last update of an epoch, which may have fewer
    micro_[length] = &set.add(fmt::format("micro-batch of {} tokens", length), graph, options,
                              [this, length] { inputs_.front().write(blank_batch(length)); });
}

void TrainEngine::add_together(ProgramSet& set, int64_t length) {
    auto graph = std::make_shared<Graph>();
    const WorkingCopies copies = append_copies(*graph);
    for (BatchInputs& inputs : inputs_) append_pass(*graph, inputs, length, copies);
    PlanOptions options = plan_options();
    options.layer_by_layer = true;
    options.runs = 1;
    together_[length] =
        &set.add(fmt::format("{} micro-batches of {} tokens", inputs_.size(), length), graph, options, [this, length] {
            for (BatchInputs& inputs : inputs_) inputs.write(blank_batch(length));
        });
}

void TrainEngine::add_update(ProgramSet& set) {
    auto graph = std::make_shared<Graph>();
    norm_ = parameters_->append_update(*graph, graph->bind(*rate_), graph->bind(*step_), graph->bind(*gradient_scale_));
    graph->mark_output(norm_);
    update_ = &set.add("update", graph, {.arena_budget = options_.page_all ? 1 : 0, .runs = 1}, [this] {
        write_scalar(store_, *rate_, 0.0f);
        write_scalar(store_, *step_, int64_t{1});
        write_scalar(store_, *gradient_scale_, 0.0f);
    });
}

UpdateResult TrainEngine::train(const Update& update, double rate) {
    const double loss = add_gradients(update);
    UpdateResult result = apply(rate);
    result.loss = loss;
    return result;
}

bool TrainEngine::runs_together(const Update& update) const {
    const auto same = [&](const MicroBatch& b) { return b.length() == update.micro_batches[0].length(); };
    return options_.together > 1 && std::ssize(update.micro_batches) == options_.together &&
           std::ranges::all_of(update.micro_batches, same);
}

double TrainEngine::add_gradients(const Update& update) {
    GGQ_ASSERT(update.label_tokens > 0, "an update without a label");
    const auto labels = static_cast<double>(update.label_tokens);
    const double scale = scales_loss() ? counters_.loss_scale : 1;
    write_scalar(store_, *loss_factor_, static_cast<float>(scale / labels));
    write_scalar(store_, *gradient_scale_, static_cast<float>(1 / scale));
    write_scalar(store_, *loss_sum_, 0.0f);
    const bool together = runs_together(update);
    for (size_t i = 0; i < update.micro_batches.size(); ++i) {
        const MicroBatch& batch = update.micro_batches[i];
        inputs_[together ? i : 0].write(batch, options_.seed, counters_.micro_batches);
        ++counters_.micro_batches;
        if (!together) run(*micro_.at(batch.length()));
    }
    if (together) run(*together_.at(update.micro_batches[0].length()));
    const double loss = static_cast<double>(read_scalar<float>(store_, *loss_sum_)) / labels;
    require(std::isfinite(loss), "update {}: the loss is {}; lower `lr`, or look at the data with `show_samples`",
            counters_.updates + 1, loss);
    if (counters_.updates == 0) check_first_gradients();
    return loss;
}

UpdateResult TrainEngine::apply(double rate) {
    const bool first = counters_.updates == 0;
    write_scalar(store_, *rate_, static_cast<float>(rate));
    write_scalar(store_, *step_, counters_.updates + 1);
    run(*update_);
    const auto norm = static_cast<double>(update_->read_scalar<float>(norm_));
    const bool overflow = !std::isfinite(norm);
    require(!overflow || scales_loss(), "update {}: the gradient norm is {}; lower `lr`", counters_.updates + 1, norm);
    if (scales_loss()) note_overflow(overflow);
    counters_.updates += !overflow;
    if (first && !overflow && rate > 0) check_first_change();
    return {0, norm, overflow};
}

void TrainEngine::run(Program& program) {
    program.run(profile_);
    traffic_ += program.traffic();
}

void TrainEngine::note_overflow(bool overflow) {
    constexpr int64_t kScaleGrowth = 2000;
    counters_.updates_at_scale = overflow ? 0 : counters_.updates_at_scale + 1;
    if (overflow) counters_.loss_scale /= 2;
    require(counters_.loss_scale >= kLeastLossScale,
            "update {}: gradients overflow f16 at every loss scale; use `compute_dtype` f32", counters_.updates + 1);
    if (counters_.updates_at_scale < kScaleGrowth) return;
    counters_.loss_scale = std::min(2 * counters_.loss_scale, kMostLossScale);
    counters_.updates_at_scale = 0;
}

// An adapter that gets no gradient trains nothing and looks as if it did. Every B starts at zero, where A's gradient
// vanishes but B's must not.
void TrainEngine::check_first_gradients() {
    first_b_.clear();
    for (const Linear* l : llama_->adapted) {
        const Buffer& gradient = parameters_->gradient_of(*l->b);
        const std::vector<float> values = read_f32(store_, gradient);
        const bool finite = all_finite(DType::f32, values.data(), gradient.type.shape.n_elems());
        if (!finite && scales_loss()) return;  // an overflow, after which the update is tried again
        require(finite, "{}: its gradient after the first backward is not finite; lower `lr` or look at the data",
                l->b->name);
        require(std::ranges::any_of(values, [](float g) { return g != 0; }),
                "{}: its gradient after the first backward is zero, so it would not be trained", l->b->name);
        first_b_.push_back(read_f32(store_, *l->b));
    }
}

void TrainEngine::check_first_change() {
    for (size_t i = 0; i < first_b_.size(); ++i) {
        const Buffer& b = *llama_->adapted[i]->b;
        require(read_f32(store_, b) != first_b_[i],  // as numbers: a zero that lost its sign has not changed
                "{}: the first update did not change it; is `lr` too small for {}?", b.name, name(b.type.dtype));
    }
    first_b_.clear();
}

}  // namespace ggq
