// A Llama of a named shape with random weights, for benches that run whole steps without a checkpoint.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ggq/device.h"
#include "ggq/error.h"
#include "ggq/transfer.h"
#include "kernels/formats.h"
#include "models/initial_values.h"
#include "models/model.h"
#include "models/option_names.h"
#include "models/shapes.h"

namespace ggq::bench {

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

// Quantized weights are drawn as codes. For the others one stretch of normal numbers is repeated: what a step costs
// does not depend on more, and a billion take seconds to draw.
class RandomSource final : public TensorSource {
public:
    // Weights that are not quantized have 16 bits, as checkpoints do.
    explicit RandomSource(DType compute) : compute_(compute), stretch_(kStretch) {
        const std::vector<float> drawn = normal_values(kStretch, 0.02, 1, "random weights");
        for (size_t i = 0; i < kStretch; ++i) {
            uint32_t bits = 0;
            std::memcpy(&bits, &drawn[i], sizeof bits);
            stretch_[i] = static_cast<uint16_t>(bits >> 16);
        }
    }

    TensorType type(const WeightRow& row) const override {
        return {compute_ == DType::f32 ? DType::bf16 : compute_, row.shape, {}};
    }
    std::string identity(const StopAsked&) const override { return "random"; }

    void load(const WeightRow& row, Store& store, const Buffer& to) const override {
        if (info(to.type.dtype).quantized) {
            std::vector<std::byte>& bytes = storage_[to_string(to.type)];
            if (bytes.empty()) bytes = random_storage(to.type);
            store.write(to, bytes.data());
        } else {
            const auto n = static_cast<size_t>(row.shape.n_elems());
            const std::vector<uint16_t> ones(row.role == WeightRole::norm ? n : 0, 0x3f80);
            write_converted(store, to, DType::bf16, ones.empty() ? repeated(n) : ones.data());
        }
    }

private:
    static constexpr size_t kStretch = size_t{1} << 20;

    const uint16_t* repeated(size_t n) const {
        while (values_.size() < n)
            values_.insert(values_.end(), stretch_.begin(),
                           stretch_.begin() + static_cast<int64_t>(std::min(kStretch, n - values_.size())));
        return values_.data();
    }

    DType compute_;
    std::vector<uint16_t> stretch_;
    mutable std::vector<uint16_t> values_;
    mutable std::map<std::string, std::vector<std::byte>> storage_;  // by type
};

inline Model random_model(const LlamaConfig& config, DType compute) {
    return {{}, config, {}, std::make_unique<RandomSource>(compute), {}};
}

inline DType compute_type(const std::string& name, const Backend& backend) {
    const auto dtype = find_option(kComputeDTypes, name);
    require(dtype.has_value(), "--compute-dtype: expected one of {}, got '{}'", option_list(kComputeDTypes), name);
    const DType wanted = dtype->value_or(backend.compute_dtype());
    require(wanted == DType::f32 || !backend.reads_host_memory(), "--compute-dtype {}: the CPU computes in f32", name);
    return wanted;
}

}  // namespace ggq::bench
