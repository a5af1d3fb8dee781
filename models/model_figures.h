// What a Llama that is declared is made of, counted: parameters, those that are trained, and what quantized weights
// take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/llama.h"

namespace ggq {

struct ModelFigures {
    int64_t n_parameters = 0;  // weights and adapters
    int64_t n_trained = 0;
    std::vector<int64_t> n_trained_of_layers;  // a layer each

    int64_t n_quantized = 0;      // weights
    int64_t quantized_bytes = 0;  // codes, scales, nested scales and their offset, as stored
    // Bytes: a scale and its part of a nested one beside an f32 scale, each block. The offset of a tensor, four bytes,
    // is not set against it.
    int64_t double_quant_saves = 0;

    double bits_a_quantized_weight() const;  // 0 of none
};

ModelFigures figures_of(const Llama& llama);

// Of what is trained and of what is quantized, each only if there is any.
std::vector<std::string> figure_lines(const ModelFigures& figures);

}  // namespace ggq
