#include "models/weights.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "ggq/error.h"
#include "ggq/transfer.h"

namespace ggq {

namespace {

constexpr std::string_view kSuffix = ".weight";

void add_layer(const LlamaConfig& c, int64_t layer, std::vector<WeightRow>& rows) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
    const auto linear = [&](const char* module, int64_t out, int64_t in) {
        rows.push_back({prefix + module + ".weight", {out, in}, WeightRole::linear});
    };
    rows.push_back({prefix + "input_layernorm.weight", {c.hidden_size}, WeightRole::norm});
    linear("self_attn.q_proj", q, c.hidden_size);
    linear("self_attn.k_proj", kv, c.hidden_size);
    linear("self_attn.v_proj", kv, c.hidden_size);
    linear("self_attn.o_proj", c.hidden_size, q);
    rows.push_back({prefix + "post_attention_layernorm.weight", {c.hidden_size}, WeightRole::norm});
    linear("mlp.gate_proj", c.intermediate_size, c.hidden_size);
    linear("mlp.up_proj", c.intermediate_size, c.hidden_size);
    linear("mlp.down_proj", c.hidden_size, c.intermediate_size);
}

bool quantizes(const std::string& module, const WeightChoice& choice) {
    return choice.quant && !choice.train_all && (!choice.quant_only_adapted || is_adapted(module, choice));
}

// Old Llama 2 files hold the rotary frequencies, which the configuration gives; and a tied head may stand there as a
// copy of the embedding.
bool may_be_ignored(const LlamaConfig& config, const ShardedSafetensors& files, const std::string& name) {
    if (name.ends_with(".rotary_emb.inv_freq")) return true;
    if (name != "lm_head.weight" || !config.tie_word_embeddings) return false;
    const FileTensor& head = files.at(name);
    const FileTensor* table = files.find("model.embed_tokens.weight");
    return table && table->dtype == head.dtype && table->shape == head.shape &&
           std::memcmp(table->data, head.data, static_cast<size_t>(head.n_bytes())) == 0;
}

}  // namespace

std::string WeightRow::module() const { return name.substr(0, name.size() - kSuffix.size()); }

std::vector<WeightRow> weight_rows(const LlamaConfig& c) {
    std::vector<WeightRow> rows;
    rows.push_back({"model.embed_tokens.weight", {c.vocab_size, c.hidden_size}, WeightRole::embedding});
    for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) add_layer(c, layer, rows);
    rows.push_back({"model.norm.weight", {c.hidden_size}, WeightRole::norm});
    if (!c.tie_word_embeddings) rows.push_back({"lm_head.weight", {c.vocab_size, c.hidden_size}, WeightRole::head});
    return rows;
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

TensorType weight_type(const WeightRow& row, DType in_checkpoint, const WeightChoice& choice) {
    if (choice.train_all) return {DType::f32, row.shape, {}};
    if (row.role == WeightRole::linear && quantizes(row.module(), choice))
        return {*choice.quant, row.shape, choice.quant_spec};
    return {choice.lift_f32 ? DType::f32 : in_checkpoint, row.shape, {}};
}

std::vector<std::string> quantized_without_adapter(const LlamaConfig& config, const WeightChoice& choice) {
    std::vector<std::string> names;
    for (const std::string& module : linear_modules(config))
        if (quantizes(module, choice) && !is_adapted(module, choice)) names.push_back(module);
    return names;
}

void check_weights(const LlamaConfig& config, const ShardedSafetensors& files) {
    std::set<std::string> known;
    for (const WeightRow& row : weight_rows(config)) {
        const FileTensor* t = files.find(row.name);
        require(t != nullptr,
                "{}: expected a tensor of shape {} in the checkpoint, found none; is the model folder complete?",
                row.name, to_string(row.shape));
        require(t->shape == row.shape, "{}: config.json asks for shape {}, the checkpoint has {}", row.name,
                to_string(row.shape), to_string(t->shape));
        require(t->dtype == DType::f32 || t->dtype == DType::f16 || t->dtype == DType::bf16,
                "{}: expected dtype F32, F16 or BF16, got {}", row.name, name(t->dtype));
        known.insert(row.name);
    }
    for (const std::string& name : files.names())
        require(known.contains(name) || may_be_ignored(config, files, name),
                "{}: this tensor is in the checkpoint but not in a Llama of this config.json; its effect would be lost",
                name);
}

void load_weights(Store& store, const std::vector<WeightRow>& rows, const std::map<std::string, Buffer*>& buffers,
                  const ShardedSafetensors& files) {
    for (const WeightRow& row : rows) {
        const FileTensor& t = files.at(row.name);
        require(
            all_finite(t.dtype, t.data, t.shape.n_elems()),
            "{}: the checkpoint has NaN or infinite values in this tensor; the file is damaged or the model diverged",
            row.name);
        write_converted(store, *buffers.at(row.name), t.dtype, t.data);
        files.drop(row.name);
    }
}

}  // namespace ggq
