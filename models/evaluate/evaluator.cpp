#include "models/evaluate/evaluator.h"

#include <fmt/format.h>

#include <algorithm>

#include "ggq/ops.h"
#include "models/clock.h"

namespace ggq {

Evaluator::Evaluator(ProgramSet& set, const Llama& llama, const std::vector<int64_t>& lengths)
    : store_(set.store()), inputs_(set.store(), *std::ranges::max_element(lengths)) {
    sum_ = &store_.declare("eval_sum", Kind::state, {DType::f32, {1}, {}});
    for (int64_t length : lengths) add_program(set, llama, length);
}

void Evaluator::add_program(ProgramSet& set, const Llama& llama, int64_t length) {
    auto graph = std::make_shared<Graph>();
    const Tensor hidden = llama_hidden(*graph, llama, inputs_.bind(*graph, length), {.mlp_tile = mlp_tile_for(length)});
    const Tensor loss = llama_loss(*graph, llama, hidden, inputs_.bind_labels(*graph, length), HeadGradient::none,
                                   logits_bytes_for(set.backend()));
    accumulate(graph->bind(*sum_), loss);
    programs_[length] = &set.add(fmt::format("evaluation of {} tokens", length), graph, {},
                                 [this, length] { inputs_.write(blank_batch(length)); });
}

double Evaluator::loss_sum(const MicroBatch& batch) {
    write_scalar(store_, *sum_, 0.0f);
    inputs_.write(batch);
    programs_.at(batch.length())->run(profile_);
    return static_cast<double>(read_scalar<float>(store_, *sum_));
}

std::optional<Evaluation> Evaluator::evaluate(const Batches& batches, const std::function<bool()>& stop) {
    const Clock::time_point start = Clock::now();
    const std::vector<int64_t> order = batches.order(0);
    Evaluation e;
    double sum = 0;
    for (; e.n_batches < batches.n_micro_batches(); ++e.n_batches) {
        if (stop && stop()) return std::nullopt;
        const MicroBatch batch = batches.micro_batch(order, e.n_batches);
        sum += loss_sum(batch);
        e.n_samples += batch.n_samples;
        e.n_tokens += batch.n_tokens;
        e.label_tokens += batch.label_tokens;
    }
    e.loss = sum / static_cast<double>(e.label_tokens);
    e.seconds = seconds_since(start);
    return e;
}

}  // namespace ggq
