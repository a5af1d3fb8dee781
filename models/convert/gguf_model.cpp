#include "models/convert/gguf_model.h"

#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/disk_space.h"
#include "ggq/io/gguf_output.h"
#include "models/convert/gguf_architecture.h"
#include "models/convert/gguf_vocabulary.h"
#include "models/gguf_names.h"

namespace ggq {

namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";

// What llama.cpp divides each frequency by.
std::vector<float> rope_factors(const LlamaConfig& config) {
    if (config.rope.kind != RopeKind::llama3) return {};
    LlamaConfig plain = config;
    plain.rope = RopeConfig{};
    plain.rope.theta = config.rope.theta;
    std::vector<float> factors = rope_frequencies(plain);
    const std::vector<float> stretched = rope_frequencies(config);
    for (size_t i = 0; i < factors.size(); ++i) factors[i] /= stretched[i];
    return factors;
}

GgufEntries entries_of(const LlamaConfig& c, const Model& model, GgufType type) {
    const auto u32 = [](int64_t n) { return static_cast<uint32_t>(n); };
    const std::string arch = gguf_architecture(c.family).name;
    GgufEntries e;
    e.text("general.architecture", arch);
    e.text("general.type", "model");
    e.text("general.name", std::filesystem::absolute(model.folder).lexically_normal().filename().string());
    e.u32("general.file_type", gguf_file_type(type));
    if (type == GgufType::q8_0) e.u32("general.quantization_version", 2);
    e.u32(arch + ".vocab_size", u32(c.vocab_size));
    e.u32(arch + ".block_count", u32(c.num_hidden_layers));
    e.u32(arch + ".context_length", u32(c.max_position_embeddings));
    e.u32(arch + ".embedding_length", u32(c.hidden_size));
    e.u32(arch + ".feed_forward_length", u32(c.intermediate_size));
    e.u32(arch + ".attention.head_count", u32(c.num_attention_heads));
    e.u32(arch + ".attention.head_count_kv", u32(c.num_key_value_heads));
    e.u32(arch + ".attention.key_length", u32(c.head_dim));
    e.u32(arch + ".attention.value_length", u32(c.head_dim));
    e.f32(arch + ".attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps));
    e.u32(arch + ".rope.dimension_count", u32(c.head_dim));
    e.f32(arch + ".rope.freq_base", static_cast<float>(c.rope.theta));
    if (c.rope.kind == RopeKind::linear) {
        e.text(arch + ".rope.scaling.type", "linear");
        e.f32(arch + ".rope.scaling.factor", static_cast<float>(c.rope.factor));
    }
    add_vocabulary(model, e);
    return e;
}

// What llama.cpp would compute otherwise.
void check_features(const LlamaConfig& c, const Model& model) {
    const RopeKind kind = c.rope.kind;
    require(kind == RopeKind::plain || kind == RopeKind::linear || kind == RopeKind::llama3,
            "{}: RoPE of the kinds yarn and dynamic is not written as GGUF yet", model.folder.string());
    const bool slides = std::ranges::find(c.window_layers, true) != c.window_layers.end();
    require(
        !slides || c.sliding_window >= c.max_position_embeddings,
        "{}: has layers with a sliding window of {} keys, which llama.cpp's '{}' has not; it would answer otherwise "
        "beyond them",
        model.folder.string(), c.sliding_window, gguf_architecture(c.family).name);
}

NamedGgufTensor tensor_of(const WeightRow& row, GgufType type) {
    const auto name = gguf_name(row.name);
    require(name.has_value(), "{}: llama.cpp has no tensor for it", row.name);
    return {*name, row.shape.rank == 1 ? GgufType::f32 : type_of_rows(type, row.shape[row.shape.rank - 1]), row.shape};
}

class ModelWriter {
public:
    ModelWriter(Backend& cpu, const MergedWeights& weights, GgufOutput& file, RoundingSummary& rounding)
        : cpu_(cpu), weights_(weights), file_(file), rounding_(rounding) {}

    void write(const WeightRow& row, const NamedGgufTensor& to) {
        const int64_t row_bytes = GgufTensor{to.type, to.shape, 0}.row_bytes();
        const bool measures = weights_.changes(row);
        RoundingLoss loss;
        weights_.each(row, [&](const MergedRows& rows) {
            const std::vector<std::byte> bytes = gguf_encoded(cpu_, to.type, rows.merged);
            put(row, to, rows, bytes, row_bytes);
            if (measures)
                loss.add(rows.base, rows.merged, gguf_decoded(cpu_, to.type, gguf_encoded(cpu_, to.type, rows.base)),
                         gguf_decoded(cpu_, to.type, bytes));
        });
        if (measures) rounding_.add(row.name, loss);
    }

private:
    // Each row of q and k, or element of their biases, goes to its own place.
    void put(const WeightRow& row, const NamedGgufTensor& to, const MergedRows& rows, std::span<const std::byte> bytes,
             int64_t row_bytes) {
        const LlamaConfig& config = weights_.config();
        const bool moves = is_permuted(row.name) && row.role != WeightRole::norm;
        if (!moves || !gguf_architecture(config.family).permutes)
            return file_.write(to.name, rows.first * row_bytes, bytes);
        const bool is_bias = row.shape.rank == 1;
        if (is_bias) row_bytes = info(to.type).bytes;
        for (int64_t i = 0; i < (is_bias ? row.shape[0] : rows.n); ++i)
            file_.write(to.name, permuted_row(rows.first + i, config.head_dim) * row_bytes,
                        bytes.subspan(static_cast<size_t>(i * row_bytes), static_cast<size_t>(row_bytes)));
    }

    Backend& cpu_;
    const MergedWeights& weights_;
    GgufOutput& file_;
    RoundingSummary& rounding_;
};

}  // namespace

void write_gguf_model(Backend& cpu, const MergedWeights& weights, const Model& model, const GgufModelOptions& options,
                      RoundingSummary& rounding, const StopAsked& stop) {
    const LlamaConfig& config = weights.config();
    check_features(config, model);
    require(options.overwrite || !is_there(options.path), "{}: is there already; allow it with `overwrite`",
            options.path.string());
    const std::vector<WeightRow> rows = weight_rows(config);
    std::vector<NamedGgufTensor> tensors;
    for (const WeightRow& row : rows) tensors.push_back(tensor_of(row, options.type));
    const std::vector<float> factors = rope_factors(config);
    if (!factors.empty()) tensors.push_back({kRopeFactors, GgufType::f32, {std::ssize(factors)}});
    const GgufEntries entries = entries_of(config, model, options.type);
    require_disk_space(options.path, GgufOutput::n_bytes(entries, tensors));
    GgufOutput file(options.path, entries, tensors);
    ModelWriter writer(cpu, weights, file, rounding);
    for (size_t i = 0; i < rows.size(); ++i) {
        end_if_asked(stop);
        writer.write(rows[i], tensors[i]);
    }
    if (!factors.empty()) file.write(kRopeFactors, 0, std::as_bytes(std::span(factors)));
    file.commit();
}

}  // namespace ggq
