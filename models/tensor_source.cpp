#include "models/tensor_source.h"

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/sharded_safetensors.h"
#include "ggq/transfer.h"
#include "models/bnb_4bit.h"
#include "models/initial_values.h"

namespace ggq {

namespace {

class CheckpointSource final : public TensorSource {
public:
    CheckpointSource(const std::filesystem::path& folder, const LlamaConfig& config)
        : files_(folder), quantized_(config, files_) {
        check_weights(config, files_, quantized_);
        require(!config.quantization || quantized(),
                "{}: quantization_config says that linears are quantized, but the checkpoint has none that is; take "
                "the key out if they are not to be",
                (folder / "config.json").string());
    }
    CheckpointSource(const CheckpointSource&) = delete;  // quantized_ refers to files_
    CheckpointSource& operator=(const CheckpointSource&) = delete;

    TensorType type(const WeightRow& row) const override {
        if (quantized_.has(row.name)) return {quantized()->dtype, row.shape, quantized()->spec};
        return {files_.at(stored_name(row.name, files_)).dtype, row.shape, {}};
    }
    std::optional<QuantForm> quantized() const override { return quantized_.form(); }
    void load(const WeightRow& row, Store& store, const Buffer& to) const override {
        if (quantized_.has(row.name)) quantized_.load(row, store, to);
        else load_weight(row, files_, store, to);
    }
    bool read_part(const WeightRow& row, uint64_t at, std::span<std::byte> to) const override {
        files_.read_part(stored_name(row.name, files_), at, to);
        return true;
    }
    std::string identity(const StopAsked& stop) const override { return hash_files(files_.files(), stop); }

private:
    ShardedSafetensors files_;
    Bnb4bitWeights quantized_;
};

class InitialSource final : public TensorSource {
public:
    InitialSource(double deviation, uint64_t seed) : deviation_(deviation), seed_(seed) {}

    TensorType type(const WeightRow& row) const override { return {DType::f32, row.shape, {}}; }
    void load(const WeightRow& row, Store& store, const Buffer& to) const override {
        const int64_t n = row.shape.n_elems();
        const bool is_norm = row.role == WeightRole::norm;
        const std::vector<float> values = is_norm || row.role == WeightRole::bias
                                              ? std::vector<float>(static_cast<size_t>(n), is_norm ? 1.0f : 0.0f)
                                              : normal_values(n, deviation_, seed_, row.name);
        write_converted(store, to, DType::f32, values.data());
    }
    std::string identity(const StopAsked&) const override { return "from scratch"; }

private:
    double deviation_;
    uint64_t seed_;
};

class NoWeights final : public TensorSource {
public:
    explicit NoWeights(DType dtype) : dtype_(dtype) {}

    TensorType type(const WeightRow& row) const override { return {dtype_, row.shape, {}}; }
    void load(const WeightRow& row, Store&, const Buffer&) const override {
        GGQ_ASSERT(false, row.name + " of a plan is loaded");
    }
    std::string identity(const StopAsked&) const override { return "no weights"; }

private:
    DType dtype_;
};

}  // namespace

std::unique_ptr<TensorSource> source_of_no_weights(DType dtype) { return std::make_unique<NoWeights>(dtype); }

std::unique_ptr<TensorSource> checkpoint_source(const std::filesystem::path& folder, const LlamaConfig& config) {
    return std::make_unique<CheckpointSource>(folder, config);
}

std::unique_ptr<TensorSource> initial_source(const LlamaConfig& config, uint64_t seed) {
    return std::make_unique<InitialSource>(config.initializer_range, seed);
}

}  // namespace ggq
