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
#include "kernels/formats.h"
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

// What a quantized weight holds, drawn instead of quantized: random codes, scales between 0.03 and 0.05.
inline std::vector<std::byte> random_storage(const TensorType& type) {
    const QuantLayout at = quant_layout(type.dtype, type.shape, type.quant);
    std::vector<std::byte> bytes(static_cast<size_t>(at.bytes));
    uint32_t state = 1;
    for (std::byte& b : bytes) {
        state = state * 1664525u + 1013904223u;
        b = static_cast<std::byte>(state >> 24);
        if (type.dtype == DType::int8 && b == std::byte{0x80}) b = std::byte{0};  // codes are from -127 on
    }
    const auto set = [&](int64_t offset, int64_t n, float value) {
        for (int64_t i = 0; i < n; ++i) std::memcpy(&bytes[static_cast<size_t>(offset + 4 * i)], &value, 4);
    };
    if (at.n_nested == 0) set(at.scales_at, at.n_scales, 0.04f);
    else {
        set(at.nested_at, at.n_nested, 0.01f);
        set(at.offset_at, 1, 0.04f);
    }
    return bytes;
}

// One stretch of normal numbers over and over for weights that are not quantized: what a step costs does not depend on
// more, and a billion take seconds to draw.
inline void fill_random(Store& store, const Llama& llama) {
    constexpr size_t kStretch = size_t{1} << 20;
    const std::vector<float> drawn = normal_values(kStretch, 0.02, 1, "random weights");
    std::vector<uint16_t> stretch(kStretch), values;
    for (size_t i = 0; i < kStretch; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, &drawn[i], sizeof bits);
        stretch[i] = static_cast<uint16_t>(bits >> 16);
    }
    const auto repeated = [&](int64_t n_elems) {
        for (auto n = static_cast<size_t>(n_elems); values.size() < n;)
            values.insert(values.end(), stretch.begin(),
                          stretch.begin() + static_cast<int64_t>(std::min(kStretch, n - values.size())));
        return values.data();
    };
    const std::vector<uint16_t> ones(static_cast<size_t>(llama.config.hidden_size), 0x3f80);
    std::map<std::string, std::vector<std::byte>> storage;  // by type
    for (const WeightRow& row : weight_rows(llama.config)) {
        const Buffer& weight = *llama.weights.at(row.name);
        if (info(weight.type.dtype).quantized) {
            std::vector<std::byte>& bytes = storage[to_string(weight.type)];
            if (bytes.empty()) bytes = random_storage(weight.type);
            store.write(weight, bytes.data());
        } else {
            write_converted(store, weight, DType::bf16,
                            row.role == WeightRole::norm ? ones.data() : repeated(row.shape.n_elems()));
        }
    }
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
