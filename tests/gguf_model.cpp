#include "tests/gguf_model.h"

#include <cstring>

#include "ggq/backend.h"
#include "ggq/io/gguf_output.h"
#include "ggq/transfer.h"
#include "kernels/packed_blocks.h"
#include "models/gguf_names.h"
#include "models/gguf_source.h"
#include "tests/packed_bytes.h"

namespace ggq::test {

namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";

GgufType type_in_file(const WeightRow& row, const GgufTypeOf& type_of) {
    return row.role == WeightRole::norm || row.role == WeightRole::bias ? GgufType::f32 : type_of(row);
}

std::vector<float> values_of(const Model& model, const WeightRow& row, Backend& cpu) {
    Store store(cpu);
    Buffer& buffer = store.declare(row.name, Kind::constant, {DType::f32, row.shape, {}});
    store.allocate();
    model.weights->load(row, store, buffer);
    return read_f32(store, buffer);
}

// Rows of q and k in the order of llama.cpp.
std::vector<float> in_order_of_file(const Model& model, const WeightRow& row, const std::vector<float>& values) {
    if (!is_permuted(row.name)) return values;
    std::vector<float> moved(values.size());
    const int64_t n_rows = row.shape[0], n = std::ssize(values) / n_rows;
    for (int64_t r = 0; r < n_rows; ++r)
        std::copy_n(values.begin() + r * n, n, moved.begin() + permuted_row(r, model.config.head_dim) * n);
    return moved;
}

std::vector<std::byte> bytes_of(const std::vector<float>& values, GgufType type, Backend& cpu) {
    const DType dtype = dtype_of(type);
    std::vector<std::byte> bytes(static_cast<size_t>(row_bytes(dtype, std::ssize(values))));
    if (type == GgufType::q8_0) {
        encode_q8_0(values, bytes.data());
    } else if (is_packed(dtype)) {
        const auto drawn = packed_bytes(dtype, {values.begin(), values.end()});
        std::memcpy(bytes.data(), drawn.data(), bytes.size());
    } else {
        Store store(cpu);
        Buffer& buffer = store.declare("x", Kind::constant, {dtype, {std::ssize(values)}, {}});
        store.allocate();
        write_converted(store, buffer, DType::f32, values.data());
        store.read(buffer, bytes.data());
    }
    return bytes;
}

void put_vocabulary(const Tokenizer& tokenizer, GgufEntries& to) {
    std::vector<std::string> tokens;
    std::vector<float> scores;
    std::vector<int32_t> types;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
        tokens.push_back(tokenizer.token_of(id));
        scores.push_back(static_cast<float>(-id));
        types.push_back(id == 0 ? 2 : tokenizer.is_special(id) ? 3 : tokens.back().starts_with("<0x") ? 6 : 1);
    }
    to.text("tokenizer.ggml.model", "llama");
    to.texts("tokenizer.ggml.tokens", tokens);
    to.f32s("tokenizer.ggml.scores", scores);
    to.i32s("tokenizer.ggml.token_type", types);
    to.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(tokenizer.bos_id().value_or(1)));
    to.u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(tokenizer.eos_id().value_or(2)));
}

GgufEntries entries_of(const Model& model) {
    const LlamaConfig& c = model.config;
    GgufEntries to;
    to.text("general.architecture", "llama");
    const auto count = [&](const char* key, int64_t n) {
        to.u32(std::string("llama.") + key, static_cast<uint32_t>(n));
    };
    count("context_length", c.max_position_embeddings);
    count("embedding_length", c.hidden_size);
    count("block_count", c.num_hidden_layers);
    count("feed_forward_length", c.intermediate_size);
    count("attention.head_count", c.num_attention_heads);
    count("attention.head_count_kv", c.num_key_value_heads);
    count("attention.key_length", c.head_dim);
    count("attention.value_length", c.head_dim);
    count("rope.dimension_count", c.head_dim);
    to.f32("llama.attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps));
    to.f32("llama.rope.freq_base", static_cast<float>(c.rope.theta));
    if (model.tokenizer.vocab_size() > 0) put_vocabulary(model.tokenizer, to);
    return to;
}

}  // namespace

void write_gguf_model(const std::filesystem::path& path, const Model& model, const GgufTypeOf& type_of,
                      const std::vector<float>& rope_factors) {
    const auto cpu = make_cpu_backend(1);
    std::vector<NamedGgufTensor> tensors;
    const std::vector<WeightRow> rows = weight_rows(model.config);
    for (const WeightRow& row : rows)
        tensors.push_back({gguf_name(row.name).value_or(""), type_in_file(row, type_of), row.shape});
    if (!rope_factors.empty()) tensors.push_back({kRopeFactors, GgufType::f32, {std::ssize(rope_factors)}});
    GgufOutput file(path, entries_of(model), tensors);
    for (size_t i = 0; i < rows.size(); ++i) {
        const std::vector<float> values = in_order_of_file(model, rows[i], values_of(model, rows[i], *cpu));
        file.write(tensors[i].name, 0, bytes_of(values, tensors[i].type, *cpu));
    }
    if (!rope_factors.empty()) file.write(kRopeFactors, 0, std::as_bytes(std::span(rope_factors)));
    file.commit();
}

GgufType mixed_types(const WeightRow& row) {
    if (row.shape[row.shape.rank - 1] % 32 != 0) return GgufType::f16;
    return row.name.ends_with("v_proj.weight") ? GgufType::q4_0 : GgufType::q8_0;
}

Model open_bare_gguf(const std::filesystem::path& path) {
    const auto file = std::make_shared<const GgufFile>(path);
    LlamaConfig config = read_gguf_config(*file);
    auto weights = gguf_source(file, config);
    return {path, std::move(config), {}, std::move(weights), {}};
}

}  // namespace ggq::test
