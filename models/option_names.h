// The options that are a choice among names: one table for each, shared by parsing, help, printing and saving.
#pragma once

#include <optional>

#include "ggq/device.h"
#include "ggq/recompute.h"
#include "kernels/view.h"
#include "models/option_table.h"
#include "models/text/dataset.h"

namespace ggq {

enum class TrainKind { lora, full };
enum class LrScheduler { constant, linear, cosine };
enum class OptimKind { adamw, adamw_8bit, paged_adamw_32bit, paged_adamw_8bit };

constexpr bool is_8bit(OptimKind kind) { return kind == OptimKind::adamw_8bit || kind == OptimKind::paged_adamw_8bit; }
constexpr bool is_paged(OptimKind kind) {
    return kind == OptimKind::paged_adamw_32bit || kind == OptimKind::paged_adamw_8bit;
}

inline constexpr OptionName<TrainKind> kTrainKinds[] = {{TrainKind::lora, "lora"}, {TrainKind::full, "full"}};

inline constexpr OptionName<OnLong> kOnLong[] = {
    {OnLong::drop, "drop"},
    {OnLong::cut_left, "cut-left"},
    {OnLong::cut_right, "cut-right"},
    {OnLong::split, "split"},
};

inline constexpr OptionName<DataFormat> kDataFormats[] = {
    {DataFormat::automatic, "auto"},
    {DataFormat::json, "json"},
    {DataFormat::csv, "csv"},
    {DataFormat::text, "text"},
};

inline constexpr OptionName<Documents> kDocuments[] = {
    {Documents::file, "file"},
    {Documents::blank_lines, "blank-lines"},
    {Documents::lines, "lines"},
};

inline constexpr OptionName<LrScheduler> kLrSchedulers[] = {
    {LrScheduler::constant, "constant"},
    {LrScheduler::linear, "linear"},
    {LrScheduler::cosine, "cosine"},
    {LrScheduler::constant, "constant_with_warmup", true},
};

inline constexpr OptionName<OptimKind> kOptimKinds[] = {
    {OptimKind::adamw, "adamw"},
    {OptimKind::adamw_8bit, "adamw_8bit"},
    {OptimKind::paged_adamw_32bit, "paged_adamw_32bit"},
    {OptimKind::paged_adamw_8bit, "paged_adamw_8bit"},
    {OptimKind::adamw, "adamw_torch", true},
    {OptimKind::adamw, "adamw_torch_fused", true},
    {OptimKind::adamw, "adamw_hf", true},
    {OptimKind::adamw_8bit, "adamw_bnb_8bit", true},
    {OptimKind::paged_adamw_32bit, "paged_adamw", true},
};

inline constexpr OptionName<Recompute> kRecomputes[] = {
    {Recompute::automatic, "auto"},
    {Recompute::none, "none"},
    {Recompute::selective, "selective"},
    {Recompute::full, "full"},
};

inline constexpr OptionName<Pager> kPagers[] = {
    {Pager::automatic, "auto"},
    {Pager::copies, "explicit"},
    {Pager::managed, "managed"},
};

// "auto", or "partial:8". Nothing for another text.
std::optional<RecomputeChoice> find_recompute(std::string_view text);
std::string recompute_text(const RecomputeChoice& choice);

// Nothing: the base is held as in its file.
inline constexpr OptionName<std::optional<DType>> kQuantNames[] = {
    {DType::nf4, "nf4"},    {DType::fp4, "fp4"},          {DType::int8, "int8"},
    {std::nullopt, "none"}, {std::nullopt, "file", true},
};

// Nothing: what the device does best.
inline constexpr OptionName<std::optional<DType>> kComputeDTypes[] = {
    {std::nullopt, "auto"},     {DType::bf16, "bf16"},           {DType::f16, "f16"},
    {DType::f32, "f32"},        {DType::bf16, "bfloat16", true}, {DType::f16, "float16", true},
    {DType::f16, "fp16", true}, {DType::f32, "float32", true},   {DType::f32, "fp32", true},
};

inline constexpr OptionName<DType> kAdapterDTypes[] = {
    {DType::f32, "f32"},
    {DType::bf16, "bf16"},
    {DType::f32, "float32", true},
    {DType::bf16, "bfloat16", true},
};

// Nothing: the computing type.
inline constexpr OptionName<std::optional<DType>> kKvDTypes[] = {
    {std::nullopt, "auto"},
    {DType::f32, "f32"},
    {DType::f16, "f16"},
    {DType::bf16, "bf16"},
};

}  // namespace ggq
