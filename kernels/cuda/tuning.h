// Choices among forms of a kernel that compute the same, up to rounding: which is fastest is a card's own. A row of
// kTuningRows is one choice with all values that it can have, each of which every kernel takes on every card and shape
// (a form that a call cannot have is passed over), so that no table can give wrong results. The program `tune` measures
// them; ggq/gpu_table.cpp has what it found. No header of CUDA is needed.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ggq::cuda {

struct Tuning {
    int few_rows = 8;
    int some_rows = 64, some_rows_large = 64;
    int some_rows_blocks = 2;
    int one_row = 1;
    int attention_hopper = 1, attention_backward_hopper = 1;
    int dequantize = 0;

    bool operator==(const Tuning&) const = default;
};

using Choice = int Tuning::*;

struct TuningRow {
    const char* name;
    Choice value;
    const char* meaning;
    int values[8], n_values;

    std::span<const int> all() const { return {values, static_cast<size_t>(n_values)}; }
    bool takes(int64_t v) const {
        for (int value_of_row : all())
            if (value_of_row == v) return true;
        return false;
    }
};

// From so many weights on a matrix is large.
inline constexpr int64_t kLargeMatrix = int64_t{1} << 25;

inline constexpr TuningRow kTuningRows[] = {
    {"few_rows",
     &Tuning::few_rows,
     "4-bit weights: up to so many rows few_rows.cu streams them, then some_rows.cu",
     {1, 2, 4, 6, 8},
     5},
    {"some_rows",
     &Tuning::some_rows,
     "4-bit weights: up to so many rows some_rows.cu streams them, then they are dequantized before cuBLAS",
     {8, 16, 24, 32, 48, 64},
     6},
    {"some_rows_large",
     &Tuning::some_rows_large,
     "the same of matrices of 2^25 weights or more",
     {8, 16, 24, 32, 48, 64},
     6},
    {"some_rows_blocks",
     &Tuning::some_rows_blocks,
     "some_rows.cu: blocks that k is cut into for a multiprocessor, at most 32 rows",
     {1, 2, 3, 4, 6},
     5},
    {"one_row", &Tuning::one_row, "one row of 4-bit weights: one_row_4bit.cu (1) or few_rows_4bit.cu (0)", {0, 1}, 2},
    {"attention_hopper", &Tuning::attention_hopper, "attention: Hopper's form (1) or the portable one (0)", {0, 1}, 2},
    {"attention_backward_hopper",
     &Tuning::attention_backward_hopper,
     "its gradient: Hopper's form (1) or the portable one (0)",
     {0, 1},
     2},
    {"dequantize", &Tuning::dequantize, "4 bits: a row of kForms in dequantize.cu", {0, 1, 2, 3, 4, 5}, 6},
};

constexpr const TuningRow* tuning_row(std::string_view name) {
    for (const TuningRow& row : kTuningRows)
        if (name == row.name) return &row;
    return nullptr;
}

}  // namespace ggq::cuda
