#include "models/train/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/transfer.h"

namespace ggq {

namespace {

int64_t longest(const std::vector<int64_t>& lengths) {
    return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
}

}  // namespace

TrainEngine::TrainEngine(Backend& backend, EngineOptions options)
    : backend_(backend), options_(std::move(options)), store_(backend) {
    const DType master = options_.weights.train_all ? DType::f32 : options_.weights.adapter_dtype;
    parameters_ = std::make_unique<ParameterSet>(store_, trained_tensors(options_.config, options_.weights), master,
                                                 options_.optimizer);
    llama_ = declare_llama(store_, options_.config, options_.weights, options_.dtypes, parameters_->by_name());
    declare_inputs();
    for (int64_t length : options_.train_lengths) micro_.emplace(length, build_micro(length));
    for (int64_t length : options_.eval_lengths) eval_.emplace(length, build_eval(length));
    update_.emplace(build_update());
    arena_bytes_ = update_->plan().arena_bytes;
    for (const auto* programs : {&micro_, &eval_})
        for (const auto& [length, program] : *programs)
            arena_bytes_ = std::max(arena_bytes_, program.plan().arena_bytes);
}

void TrainEngine::declare_inputs() {
    const int64_t n = std::max(longest(options_.train_lengths), longest(options_.eval_lengths));
    const auto tokens = [&](const char* name, const Shape& shape) {
        return &store_.declare(name, Kind::input, {DType::i32, shape, {}});
    };
    whole_ = {tokens("ids", {n}), tokens("labels", {n}), tokens("positions", {n}), tokens("spans", {n, 2})};
    rng_ = &store_.declare("rng", Kind::input, {DType::i64, {2}, {}});
    rate_ = &store_.declare("rate", Kind::input, {DType::f32, {1}, {}});
    step_ = &store_.declare("step", Kind::input, {DType::i64, {1}, {}});
    loss_factor_ = &store_.declare("loss_factor", Kind::input, {DType::f32, {1}, {}});
    gradient_scale_ = &store_.declare("gradient_scale", Kind::input, {DType::f32, {1}, {}});
    loss_sum_ = &store_.declare("loss_sum", Kind::state, {DType::f32, {1}, {}});
    eval_sum_ = &store_.declare("eval_sum", Kind::state, {DType::f32, {1}, {}});
}

TrainEngine::Inputs TrainEngine::inputs_of(int64_t length) {
    if (const auto it = inputs_.find(length); it != inputs_.end()) return it->second;
    const auto part = [&](Buffer* whole, const Shape& shape) { return &store_.slice(*whole, whole->name, 0, shape); };
    return inputs_[length] = {part(whole_.ids, {length}), part(whole_.labels, {length}),
                              part(whole_.positions, {length}), part(whole_.spans, {length, 2})};
}

Program TrainEngine::build_micro(int64_t length) {
    auto graph = std::make_shared<Graph>();
    const Inputs in = inputs_of(length);
    const LlamaInputs inputs{graph->bind(*in.ids), graph->bind(*in.positions), graph->bind(*in.spans),
                             graph->bind(*rng_)};
    const Tensor hidden = llama_hidden(*graph, *llama_, inputs, {true, nullptr});
    const HeadGradient head = options_.weights.train_all ? HeadGradient::input_and_weight : HeadGradient::input;
    const Tensor loss = llama_loss(*graph, *llama_, hidden, graph->bind(*in.labels), head, options_.logits_bytes);
    accumulate(graph->bind(*loss_sum_), loss);
    const Tensor mean = scale_by(loss, graph->bind(*loss_factor_));
    std::vector<Tensor> params;
    for (const TrainedParameter& p : parameters_->parameters()) params.push_back(graph->bind(*p.param));
    backward(mean, params, [&](size_t i, Tensor gradient) {
        accumulate(graph->bind(*parameters_->parameters()[i].gradient), gradient);
    });
    return {graph, plan(*graph, backend_, {options_.recompute}), fmt::format("micro-batch of {} tokens", length)};
}

Program TrainEngine::build_eval(int64_t length) {
    auto graph = std::make_shared<Graph>();
    const Inputs in = inputs_of(length);
    const LlamaInputs inputs{graph->bind(*in.ids), graph->bind(*in.positions), graph->bind(*in.spans),
                             graph->bind(*rng_)};
    const Tensor hidden = llama_hidden(*graph, *llama_, inputs, {});
    const Tensor loss =
        llama_loss(*graph, *llama_, hidden, graph->bind(*in.labels), HeadGradient::none, options_.logits_bytes);
    accumulate(graph->bind(*eval_sum_), loss);
    return {graph, plan(*graph, backend_), fmt::format("validation of {} tokens", length)};
}

Program TrainEngine::build_update() {
    auto graph = std::make_shared<Graph>();
    norm_ = parameters_->append_update(*graph, graph->bind(*rate_), graph->bind(*step_), graph->bind(*gradient_scale_));
    graph->mark_output(norm_);
    return {graph, plan(*graph, backend_), "update"};
}

int64_t logits_bytes_for(const Backend& backend) { return (backend.reads_host_memory() ? 16ll : 256ll) << 20; }

MemoryUse TrainEngine::memory() const {
    MemoryUse use;
    use.overhead = backend_.overhead_bytes();
    use.weights = store_.bytes(Kind::constant);
    use.parameters = store_.bytes(Kind::parameter);
    use.inputs = store_.bytes(Kind::input);
    use.gradients = parameters_->gradients().bytes();
    use.optimizer = parameters_->state_bytes();
    use.other_state = store_.bytes(Kind::state) - use.gradients - use.optimizer;
    use.arena = arena_bytes_;
    for (const auto* programs : {&micro_, &eval_})
        for (const auto& [length, program] : *programs)
            use.workspace = std::max(use.workspace, program.plan().workspace_bytes);
    return use;
}

void TrainEngine::reserve_arena(int64_t bytes) { arena_bytes_ = std::max(arena_bytes_, bytes); }

void TrainEngine::allocate(const std::function<void()>& load) {
    store_.allocate();
    write_frequencies(store_, *llama_);
    if (load) load();
    arena_ = std::make_unique<Arena>(backend_, arena_bytes_);
    for (auto* programs : {&micro_, &eval_})
        for (auto& [length, program] : *programs) program.bind(backend_, *arena_);
    update_->bind(backend_, *arena_);
    prepare();
}

// Runs every program once on a batch without labels at a rate of zero, which changes no parameter, and clears the state
// that it touched.
void TrainEngine::prepare() {
    if (!backend_.records()) return;
    MicroBatch batch;
    const auto fill_up = [&](int64_t length) {
        for (auto t = static_cast<int32_t>(batch.ids.size()); t < length; ++t) {
            batch.ids.push_back(0);
            batch.labels.push_back(kNoLabel);
            batch.positions.push_back(t);
            batch.spans.insert(batch.spans.end(), {t, t + 1});
        }
    };
    for (auto* programs : {&micro_, &eval_})
        for (auto& [length, program] : *programs) {
            fill_up(length);
            write_batch(inputs_.at(length), batch);
            program.prepare();
        }
    write_scalar(store_, *rate_, 0.0f);
    write_scalar(store_, *step_, int64_t{1});
    write_scalar(store_, *gradient_scale_, 0.0f);
    update_->prepare();
    for (const auto& [name, buffer] : parameters_->state()) backend_.zero(buffer->data, buffer->bytes());
}

void TrainEngine::write_batch(const Inputs& in, const MicroBatch& batch) {
    store_.write(*in.ids, batch.ids.data());
    store_.write(*in.labels, batch.labels.data());
    store_.write(*in.positions, batch.positions.data());
    store_.write(*in.spans, batch.spans.data());
    const int64_t rng[2] = {static_cast<int64_t>(options_.seed), counters_.micro_batches};
    store_.write(*rng_, rng);
}

UpdateResult TrainEngine::train(const Update& update, double rate) {
    const double loss = add_gradients(update);
    UpdateResult result = apply(rate);
    result.loss = loss;
    return result;
}

double TrainEngine::add_gradients(const Update& update) {
    GGQ_ASSERT(update.label_tokens > 0, "an update without a label");
    const auto labels = static_cast<double>(update.label_tokens);
    const double scale = scales_loss() ? counters_.loss_scale : 1;
    write_scalar(store_, *loss_factor_, static_cast<float>(scale / labels));
    write_scalar(store_, *gradient_scale_, static_cast<float>(1 / scale));
    write_scalar(store_, *loss_sum_, 0.0f);
    for (const MicroBatch& batch : update.micro_batches) {
        write_batch(inputs_.at(batch.length()), batch);
        run(micro_.at(batch.length()));
        ++counters_.micro_batches;
    }
    const double loss = static_cast<double>(read_scalar<float>(store_, *loss_sum_)) / labels;
    require(std::isfinite(loss), "update {}: the loss is {}; lower --lr, or look at the data with --show-samples",
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
    require(!overflow || scales_loss(), "update {}: the gradient norm is {}; lower --lr", counters_.updates + 1, norm);
    if (scales_loss()) note_overflow(overflow);
    counters_.updates += !overflow;
    if (first && !overflow && rate > 0) check_first_change();
    return {0, norm, overflow};
}

void TrainEngine::note_overflow(bool overflow) {
    constexpr int64_t kScaleGrowth = 2000;
    counters_.updates_at_scale = overflow ? 0 : counters_.updates_at_scale + 1;
    if (overflow) counters_.loss_scale /= 2;
    require(counters_.loss_scale > 1e-6,
            "update {}: gradients overflow f16 at every loss scale; use --compute-dtype f32", counters_.updates + 1);
    if (counters_.updates_at_scale < kScaleGrowth) return;
    counters_.loss_scale *= 2;
    counters_.updates_at_scale = 0;
}

double TrainEngine::evaluate(const MicroBatch& batch) {
    write_scalar(store_, *eval_sum_, 0.0f);
    write_batch(inputs_.at(batch.length()), batch);
    run(eval_.at(batch.length()));
    return static_cast<double>(read_scalar<float>(store_, *eval_sum_));
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
        require(finite, "{}: its gradient after the first backward is not finite; lower --lr or look at the data",
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
                "{}: the first update did not change it; is --lr too small for {}?", b.name, name(b.type.dtype));
    }
    first_b_.clear();
}

}  // namespace ggq
