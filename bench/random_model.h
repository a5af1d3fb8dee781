// A Llama of a named shape with random weights, for benches that run whole steps without a checkpoint.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "bench/shapes.h"
#include "ggq/device.h"
#include "ggq/transfer.h"
#include "models/initial_values.h"
#include "models/llama.h"
#include "models/option_names.h"

namespace ggq::bench {

// Weights that are not quantized have the computing type.
inline std::map<std::string, DType> checkpoint_dtypes(const LlamaConfig& config, DType compute) {
    std::map<std::string, DType> dtypes;
    for (const WeightRow& row : weight_rows(config)) dtypes[row.name] = compute;
    return dtypes;
}

// One stretch of normal numbers over and over: what a step costs does not depend on more, and a billion take seconds to
// draw.
inline void fill_random(Store& store, const Llama& llama) {
    constexpr size_t kStretch = size_t{1} << 20;
    const std::vector<WeightRow> rows = weight_rows(llama.config);
    int64_t most = 0;
    for (const WeightRow& row : rows) most = std::max(most, row.shape.n_elems());
    const std::vector<float> drawn = normal_values(kStretch, 0.02, 1, "random weights");
    std::vector<uint16_t> values(static_cast<size_t>(most)),
        ones(static_cast<size_t>(llama.config.hidden_size), 0x3f80);
    for (size_t i = 0; i < std::min(values.size(), kStretch); ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, &drawn[i], sizeof bits);
        values[i] = static_cast<uint16_t>(bits >> 16);
    }
    for (size_t i = kStretch; i < values.size(); i += kStretch)
        std::copy_n(values.begin(), std::min(kStretch, values.size() - i), values.begin() + static_cast<int64_t>(i));
    for (const WeightRow& row : rows)
        write_converted(store, *llama.weights.at(row.name), DType::bf16,
                        row.role == WeightRole::norm ? ones.data() : values.data());
    write_frequencies(store, llama);
}

inline DType compute_type(const std::string& name, const Backend& backend) {
    const auto dtype = find_option(kComputeDTypes, name);
    require(dtype.has_value(), "--compute-dtype: expected one of {}, got '{}'", option_list(kComputeDTypes), name);
    const DType wanted = dtype->value_or(backend.compute_dtype());
    require(wanted == DType::f32 || !backend.reads_host_memory(), "--compute-dtype {}: the CPU computes in f32", name);
    return wanted;
}

}  // namespace ggq::bench
