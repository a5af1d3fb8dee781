// TensorSource: where a model's weights come from. A checkpoint today, random numbers for a new model or a benchmark;
// what a source is made of is known nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "ggq/buffer.h"
#include "ggq/stop.h"
#include "models/config.h"
#include "models/weights.h"

namespace ggq {

class TensorSource {
public:
    virtual ~TensorSource() = default;

    virtual TensorType type(const WeightRow& row) const = 0;  // in which the source holds a weight
    // Nothing: no weight is quantized. Else linears are, in this form, and those that are plain are meant to be.
    virtual std::optional<QuantForm> quantized() const { return std::nullopt; }
    // Nothing, or in words in which formats of GGUF (kernels/gguf_blocks.h) the linears are, each in one of its own:
    // "30 Q4_K, 12 Q6_K". They are held so where nobody wishes for another form, and can be decoded for any.
    virtual std::optional<std::string> packed() const { return std::nullopt; }
    // Whether a weight is held in type(), whatever is quantized else.
    virtual bool is_fixed(const WeightRow& /*row*/) const { return false; }
    // Fills the buffer of a weight, cast or quantized to its type. Throws Error for NaN and infinity, by name.
    virtual void load(const WeightRow& row, Store& store, const Buffer& to) const = 0;
    // Fills `to` with bytes of a weight as the source holds it, from its byte `at` on; false: it holds none.
    virtual bool read_part(const WeightRow& /*row*/, uint64_t /*at*/, std::span<std::byte> /*to*/) const {
        return false;
    }
    // Equal texts, equal weights; may take as long as reading them all.
    virtual std::string identity(const StopAsked& stop) const = 0;
};

// The safetensors of a model folder. Throws Error, by name, for what does not fit the configuration.
std::unique_ptr<TensorSource> checkpoint_source(const std::filesystem::path& folder, const LlamaConfig& config);

// Of a model of which only the shape is known: weights in `dtype` that cannot be loaded.
std::unique_ptr<TensorSource> source_of_no_weights(DType dtype);

// A new model: normal with the deviation that config.json names as initializer_range, norms 1, biases 0.
std::unique_ptr<TensorSource> initial_source(const LlamaConfig& config, uint64_t seed);

}  // namespace ggq
