#include "models/merge/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ggq {

namespace {

double log_sum_exp(std::span<const float> row) {
    const double most = *std::ranges::max_element(row);
    double sum = 0;
    for (float x : row) sum += std::exp(x - most);
    return most + std::log(sum);
}

std::ptrdiff_t top(std::span<const float> row) { return std::ranges::max_element(row) - row.begin(); }

}  // namespace

double Comparison::reference_perplexity() const { return std::exp(reference_loss); }
double Comparison::other_perplexity() const { return std::exp(other_loss); }

LogitsOf::LogitsOf(ProgramSet& set, const Llama& llama, const std::vector<int64_t>& lengths)
    : inputs_(set.store(), *std::ranges::max_element(lengths)) {
    for (int64_t length : lengths) {
        auto graph = std::make_shared<Graph>();
        Pass& pass = passes_[length];
        const Tensor hidden = llama_hidden(*graph, llama, inputs_.bind(*graph, length), {});
        pass.logits = llama_logits(*graph, llama, hidden);
        graph->mark_output(pass.logits);
        pass.program = &set.add(fmt::format("logits of {} tokens", length), graph, {},
                                [this, length] { inputs_.write(blank_batch(length)); });
    }
}

const std::vector<float>& LogitsOf::operator()(const MicroBatch& batch) {
    const Pass& pass = passes_.at(batch.length());
    inputs_.write(batch);
    pass.program->run();
    logits_.resize(static_cast<size_t>(pass.logits.shape().n_elems()));
    pass.program->read(pass.logits, logits_.data());
    return logits_;
}

void Comparer::add(const MicroBatch& batch, std::span<const float> reference, std::span<const float> other) {
    const size_t width = reference.size() / batch.labels.size();
    for (size_t t = 0; t < batch.labels.size(); ++t) {
        if (batch.labels[t] == kIgnoredLabel) continue;
        const auto p = reference.subspan(t * width, width), q = other.subspan(t * width, width);
        const double p_sum = log_sum_exp(p), q_sum = log_sum_exp(q);
        double kl = 0;
        for (size_t i = 0; i < width; ++i) {
            const double log_p = p[i] - p_sum, log_q = q[i] - q_sum;
            kl += std::exp(log_p) * (log_p - log_q);
            sums_.largest_difference = std::max(sums_.largest_difference, std::abs(double{p[i]} - double{q[i]}));
        }
        sums_.kl += kl;
        n_same_ += top(p) == top(q);
        const auto label = static_cast<size_t>(batch.labels[t]);
        sums_.reference_loss += p_sum - p[label];
        sums_.other_loss += q_sum - q[label];
        ++sums_.n_tokens;
    }
}

Comparison Comparer::result() const {
    Comparison mean = sums_;
    const double n = static_cast<double>(std::max<int64_t>(sums_.n_tokens, 1));
    mean.kl = std::max(mean.kl / n, 0.0);  // equal models, rounded
    mean.same_top = static_cast<double>(n_same_) / n;
    mean.reference_loss /= n;
    mean.other_loss /= n;
    return mean;
}

}  // namespace ggq
