// Floats in the types of GGUF files that models and adapters are written in.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ggq/backend.h"
#include "ggq/io/gguf.h"
#include "models/option_table.h"

namespace ggq {

inline constexpr OptionName<GgufType> kGgufOutputTypes[] = {
    {GgufType::f32, "f32"},
    {GgufType::f16, "f16"},
    {GgufType::bf16, "bf16"},
    {GgufType::q8_0, "q8_0"},
};

// The number of a type in general.file_type.
uint32_t gguf_file_type(GgufType type);

// The type itself, or f16 where rows of so many elements are no whole blocks of it.
GgufType type_of_rows(GgufType type, int64_t row_elems);

// Q8_0 as ggml: blocks of 32, d = absmax / 127 in f16, codes round(x / d).
std::vector<std::byte> gguf_encoded(Backend& cpu, GgufType type, std::span<const float> values);
std::vector<float> gguf_decoded(Backend& cpu, GgufType type, std::span<const std::byte> bytes);

}  // namespace ggq
