// The weights of a model with adapters merged into them, computed a piece at a time: of no weight more is in memory
// than the base's own form of it and, of a quantized one, its values.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "models/merge/weight_update.h"
#include "models/tensor_source.h"

namespace ggq {

// Rows [first, first + n) of a weight, a norm being one row.
struct MergedRows {
    int64_t first = 0, n = 0;
    std::span<const float> base, merged;
};

class MergedWeights {
public:
    // `form`: in which the base is held, so quantized and restored as it was in training. `config` is the base's. All
    // must outlive this. Refuses adapters that touch what the model does not have, by name.
    MergedWeights(Backend& cpu, const LlamaConfig& config, const TensorSource& source, const BaseForm& form,
                  std::vector<ScaledAdapter> adapters);

    // Of the result. Where adapters change the head or the embedding of a tied model, the two are untied: each keeps
    // what it has, and config.json says so. They stay tied if both become the same, or PEFT's ensure_weight_tying says
    // that they are to.
    const LlamaConfig& config() const { return config_; }
    bool untied() const { return base_tied_ && !config_.tie_word_embeddings; }

    bool changes(const WeightRow& row) const;
    WeightRow base_row(const WeightRow& row) const;  // of the base: of an untied head, the embedding
    // In which the base holds it.
    TensorType stored_type(const WeightRow& row) const;
    TensorType held_type(const WeightRow& row) const;

    // From the first row to the last.
    void each(const WeightRow& row, const std::function<void(const MergedRows&)>& take) const;

private:
    bool keeps_tie() const;
    void check_modules() const;

    Backend& cpu_;
    LlamaConfig config_;
    bool base_tied_;
    const TensorSource& source_;
    WeightChoice choice_;
    std::vector<ScaledAdapter> adapters_;
    mutable LowRankSums sums_;
};

}  // namespace ggq
