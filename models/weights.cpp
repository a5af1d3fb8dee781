#include "models/weights.h"

#include <set>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "ggq/transfer.h"
#include "models/bnb_4bit.h"

namespace ggq {

namespace {

constexpr const char* kTable = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

void add_layer(const LlamaConfig& c, int64_t layer, std::vector<WeightRow>& rows) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
    const auto linear = [&](const char* module, int64_t out, int64_t in, bool bias = false) {
        rows.push_back({prefix + module + ".weight", {out, in}, WeightRole::linear});
        if (bias) rows.push_back({prefix + module + ".bias", {out}, WeightRole::bias});
    };
    const auto norm = [&](const char* module, int64_t size) {
        rows.push_back({prefix + module + ".weight", {size}, WeightRole::norm});
    };
    norm("input_layernorm", c.hidden_size);
    linear("self_attn.q_proj", q, c.hidden_size, c.qkv_bias);
    linear("self_attn.k_proj", kv, c.hidden_size, c.qkv_bias);
    linear("self_attn.v_proj", kv, c.hidden_size, c.qkv_bias);
    if (c.qk_norm) norm("self_attn.q_norm", c.head_dim);
    if (c.qk_norm) norm("self_attn.k_norm", c.head_dim);
    linear("self_attn.o_proj", c.hidden_size, q, c.o_bias);
    norm("post_attention_layernorm", c.hidden_size);
    linear("mlp.gate_proj", c.intermediate_size, c.hidden_size);
    linear("mlp.up_proj", c.intermediate_size, c.hidden_size);
    linear("mlp.down_proj", c.hidden_size, c.intermediate_size);
}

bool quantizes(const std::string& module, const WeightChoice& choice) {
    return choice.quant && !choice.quantized_in_checkpoint && !choice.train_all &&
           (!choice.quant_only_adapted || is_adapted(module, choice));
}

// Buffers of rotary frequencies, which the configuration gives; and a tied head may stand there as a copy of the
// embedding, or instead of it.
bool may_be_ignored(const LlamaConfig& config, const ShardedSafetensors& files, const std::string& name) {
    for (const char* buffer : {"inv_freq", "original_inv_freq", "cos_cached", "sin_cached"})
        if (name.ends_with(std::string(".rotary_emb.") + buffer)) return true;
    return name == kHead && config.tie_word_embeddings && (!files.find(kTable) || files.same(kTable, kHead));
}

// Tensors named otherwise: what a model without its head, a compiled or a wrapped one was saved with.
void check_prefix(const ShardedSafetensors& files, const char* architecture) {
    if (files.find(kTable)) return;
    constexpr std::string_view kEnd = "embed_tokens.weight";
    for (const std::string& name : files.names())
        require(!name.ends_with(kEnd),
                "{}: names its tensors '{}...' where '{}...' is expected, so it was not saved as a {}; load it as one "
                "with transformers and save it again",
                files.file_of(name), shown(name.substr(0, name.size() - kEnd.size())), "model.", architecture);
}

void check_tensor(const WeightRow& row, const LlamaConfig& config, const ShardedSafetensors& files) {
    const std::string name = config.tie_word_embeddings ? stored_name(row.name, files) : row.name;
    const std::string file = files.file_of(name);
    const FileTensor* t = files.find(name);
    require(t != nullptr, "{}: {}: expected a tensor of shape {} in the checkpoint, found none; {}", file, row.name,
            to_string(row.shape), files.why_missing(row.name));
    require(t->shape == row.shape, "{}: {}: config.json asks for shape {}, the checkpoint has {}", file, row.name,
            to_string(row.shape), to_string(t->shape));
    require(t->dtype == DType::f32 || t->dtype == DType::f16 || t->dtype == DType::bf16,
            "{}: {}: expected dtype F32, F16 or BF16, got {}", file, row.name, ggq::name(t->dtype));
}

}  // namespace

std::string WeightRow::module() const {
    constexpr std::string_view kSuffix = ".weight";
    return name.ends_with(kSuffix) ? name.substr(0, name.size() - kSuffix.size()) : name;
}

std::vector<WeightRow> weight_rows(const LlamaConfig& c) {
    std::vector<WeightRow> rows;
    rows.push_back({kTable, {c.vocab_size, c.hidden_size}, WeightRole::embedding});
    for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) add_layer(c, layer, rows);
    rows.push_back({"model.norm.weight", {c.hidden_size}, WeightRole::norm});
    if (!c.tie_word_embeddings) rows.push_back({kHead, {c.vocab_size, c.hidden_size}, WeightRole::head});
    return rows;
}

std::string stored_name(const std::string& row, const ShardedSafetensors& files) {
    return row == kTable && !files.find(kTable) ? kHead : row;
}

std::vector<std::string> linear_modules(const LlamaConfig& config) {
    std::vector<std::string> modules;
    for (const WeightRow& row : weight_rows(config))
        if (row.role == WeightRole::linear) modules.push_back(row.module());
    return modules;
}

bool is_adapted(const std::string& module, const WeightChoice& choice) {
    return choice.lora && module_matches(module, *choice.lora);
}

TensorType weight_type(const WeightRow& row, const TensorType& in_checkpoint, const WeightChoice& choice) {
    if (choice.train_all) return {DType::f32, row.shape, {}};
    const bool packed = is_packed(in_checkpoint.dtype), linear = row.role == WeightRole::linear;
    if (info(in_checkpoint.dtype).quantized && !packed) return in_checkpoint;
    if (linear && quantizes(row.module(), choice)) return {*choice.quant, row.shape, choice.quant_spec};
    if (packed && (linear || !choice.lift_f32)) return in_checkpoint;
    return {choice.lift_f32 ? DType::f32 : in_checkpoint.dtype, row.shape, {}};
}

std::vector<std::string> quantized_without_adapter(const LlamaConfig& config, const WeightChoice& choice) {
    std::vector<std::string> names;
    for (const std::string& module : linear_modules(config))
        if (quantizes(module, choice) && !is_adapted(module, choice)) names.push_back(module);
    return names;
}

void check_weights(const LlamaConfig& config, const ShardedSafetensors& files, const Bnb4bitWeights& quantized) {
    const std::vector<std::string> names = files.names();
    require(config.num_hidden_layers <= std::ssize(names),
            "{}: num_hidden_layers is {}, but the checkpoint holds only {} tensors",
            (files.folder() / "config.json").string(), config.num_hidden_layers, names.size());
    check_prefix(files, row_of(config.family).architecture);
    std::set<std::string> known;
    for (const WeightRow& row : weight_rows(config)) {
        if (!quantized.has(row.name)) check_tensor(row, config, files);
        known.insert(row.name);
    }
    for (const std::string& name : names)
        require(
            known.contains(name) || quantized.has_part(name) || may_be_ignored(config, files, name),
            "{}: {}: this tensor is in the checkpoint but not in a {} of this config.json; its effect would be lost",
            files.file_of(name), shown(name), row_of(config.family).name);
}

void load_weight(const WeightRow& row, const ShardedSafetensors& files, Store& store, const Buffer& to) {
    const std::string name = stored_name(row.name, files);
    const DType dtype = files.at(name).dtype;
    write_streamed(store, to, dtype, [&](uint64_t at, std::span<std::byte> part) {
        files.read_part(name, at, part);
        require(all_finite(dtype, part.data(), static_cast<int64_t>(part.size()) / info(dtype).bytes),
                "{}: {} has NaN or infinite values; the file is damaged or the model diverged", files.file_of(name),
                row.name);
    });
}

}  // namespace ggq
