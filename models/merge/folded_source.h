// What of an adapter is not computed beside the base (DoRA, an adapter on head or embedding, modules as a whole) is
// computed into its weights as they are loaded: such a weight is then a plain one, whatever the base is quantized as.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/merge/merged_weights.h"

namespace ggq {

struct FoldedAdapter {
    Adapter adapter;
    double scale = 1;
};

// Takes out of an adapter what a base cannot have beside it; what is left is plain LoRA, perhaps of no module.
Adapter take_unplain_part(Adapter& adapter);

class FoldedSource final : public TensorSource {
public:
    // `config` is that of `base`; `form`: in which the base is held. Weights that adapters change have the type `held`.
    FoldedSource(std::unique_ptr<TensorSource> base, const LlamaConfig& config, const BaseForm& form, DType held,
                 std::vector<FoldedAdapter> adapters, int threads);

    // Perhaps of an untied model, see MergedWeights.
    const LlamaConfig& config() const { return weights_->config(); }
    const std::vector<FoldedAdapter>& adapters() const { return adapters_; }

    TensorType type(const WeightRow& row) const override;
    std::optional<QuantForm> quantized() const override { return base_->quantized(); }
    bool is_fixed(const WeightRow& row) const override { return weights_->changes(row); }
    void load(const WeightRow& row, Store& store, const Buffer& to) const override;
    bool read_part(const WeightRow& row, uint64_t at, std::span<std::byte> to) const override;
    std::string identity(const StopAsked& stop) const override { return base_->identity(stop); }

private:
    std::unique_ptr<TensorSource> base_;
    std::unique_ptr<Backend> cpu_;
    std::vector<FoldedAdapter> adapters_;
    DType held_;
    std::unique_ptr<MergedWeights> weights_;
};

}  // namespace ggq
