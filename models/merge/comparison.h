// Two models on the same text: how far apart what they predict is.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ggq/program_set.h"
#include "models/batch_inputs.h"
#include "models/llama.h"
#include "models/text/batches.h"

namespace ggq {

// Over the labelled tokens, in double. Of `reference` p and `other` q:
struct Comparison {
    int64_t n_tokens = 0;
    double kl = 0;                  // mean of sum p log(p / q), in nats
    double same_top = 0;            // share of tokens at which both find the same one likeliest
    double largest_difference = 0;  // between two logits
    double reference_loss = 0, other_loss = 0;

    double reference_perplexity() const;
    double other_perplexity() const;
};

// The logits of a model for micro-batches of given lengths.
class LogitsOf {
public:
    // Declares and plans; `set` and `llama` must outlive it.
    LogitsOf(ProgramSet& set, const Llama& llama, const std::vector<int64_t>& lengths);
    LogitsOf(const LogitsOf&) = delete;
    LogitsOf& operator=(const LogitsOf&) = delete;

    const std::vector<float>& operator()(const MicroBatch& batch);  // [T,V]

private:
    struct Pass {
        Program* program = nullptr;
        Tensor logits;
    };

    BatchInputs inputs_;
    std::map<int64_t, Pass> passes_;  // by length
    std::vector<float> logits_;
};

class Comparer {
public:
    // Logits [T,V] of the same micro-batch.
    void add(const MicroBatch& batch, std::span<const float> reference, std::span<const float> other);
    Comparison result() const;

private:
    Comparison sums_;
    int64_t n_same_ = 0;
};

}  // namespace ggq
