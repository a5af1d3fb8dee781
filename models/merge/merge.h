// Merging adapters into a model: a folder that needs no adapter any more, and how far it is from base + adapter.
//
// An adapter of QLoRA was trained against what the 4-bit weights restore to, not against the original ones: merged into
// those it computes something else. So the base of a merge is a choice:
//   dequantized   the weights as the base was quantized in training, restored; the sum is what was trained
//   original      the weights as the folder has them
//   requantized   the sum over dequantized weights, quantized again, as a 4-bit folder of bitsandbytes; the rounding
//   may
//                 be larger than what the adapter adds
// Weights go through memory one at a time, on the CPU.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/adapted_model.h"
#include "models/base_options.h"
#include "models/data_choice.h"
#include "models/events.h"
#include "models/merge/comparison.h"
#include "models/merge/rounding_loss.h"
#include "models/option_table.h"

namespace ggq {

enum class MergeBase : uint8_t { automatic, original, dequantized, requantized };

// automatic: dequantized where the adapter or the folder says that the base was quantized, else original.
inline constexpr OptionName<MergeBase> kMergeBases[] = {
    {MergeBase::automatic, "auto"},
    {MergeBase::original, "original"},
    {MergeBase::dequantized, "dequantized"},
    {MergeBase::requantized, "requantized"},
};

// Nothing: as the input's, tensor by tensor.
inline constexpr OptionName<std::optional<DType>> kOutputDTypes[] = {
    {std::nullopt, "input"},         {DType::bf16, "bf16"},         {DType::f16, "f16"},           {DType::f32, "f32"},
    {DType::bf16, "bfloat16", true}, {DType::f16, "float16", true}, {DType::f32, "float32", true},
};

struct MergeOptions {
    BaseOptions base;
    std::vector<AdapterChoice> adapters;  // one at least; each is added to what those before it made
    MergeBase onto = MergeBase::automatic;
    std::optional<DType> dtype;
    std::string output;
    bool overwrite = false;
    std::string shard_size = "5GB";
    DataChoice report;           // of `report.data`; empty: none
    bool compare_bases = false;  // report what the other two bases would have given
    bool json = false, quiet = false;
};

void validate(const MergeOptions& options);

struct MergeReport {
    MergeBase onto = MergeBase::original;
    Comparison difference;  // to base + adapter
};

struct MergeResult {
    MergeBase onto = MergeBase::original;
    int64_t n_weights = 0, n_merged = 0;  // tensors
    bool untied = false;
    RoundingSummary rounding;
    std::vector<MergeReport> reports;  // what was written first
};

// Throws Error for whatever the options, the files or the machine make impossible, and Interrupted when `events.stop`
// ends it; the output folder is then as it was.
MergeResult run_merge(MergeOptions options, const Events& events);

}  // namespace ggq
