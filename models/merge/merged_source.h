// Merged weights in the form in which they are kept: rounded to a float type, or quantized again.
#pragma once

#include <optional>
#include <string>

#include "models/convert/gguf_floats.h"
#include "models/merge/merged_weights.h"
#include "models/merge/rounding_loss.h"

namespace ggq {

struct MergedForm {
    std::optional<DType> dtype;            // of all that is plain; nothing: as the base stores it
    DType of_quantized = DType::f32;       // of what the base stores in few bits
    std::optional<GgufType> gguf;          // matrices are rounded to this type, and all is held as f32
    std::optional<QuantForm> requantized;  // of the linears that the base holds quantized; nothing: they are plain
};

class MergedSource final : public TensorSource {
public:
    // `weights` and `cpu` must outlive it. `rounding`, where it is given, sums up what the form loses.
    MergedSource(Backend& cpu, const MergedWeights& weights, const MergedForm& form,
                 RoundingSummary* rounding = nullptr)
        : cpu_(cpu), weights_(weights), form_(form), rounding_(rounding) {}

    TensorType type(const WeightRow& row) const override;
    std::optional<QuantForm> quantized() const override { return form_.requantized; }
    bool is_fixed(const WeightRow&) const override { return true; }
    void load(const WeightRow& row, Store& store, const Buffer& to) const override;
    std::string identity(const StopAsked&) const override { return "merged"; }

private:
    void load_plain(const WeightRow& row, Store& store, const Buffer& to) const;
    void load_rounded(const WeightRow& row, Store& store, const Buffer& to) const;
    void load_quantized(const WeightRow& row, Store& store, const Buffer& to) const;

    Backend& cpu_;
    const MergedWeights& weights_;
    MergedForm form_;
    RoundingSummary* rounding_;
};

}  // namespace ggq
