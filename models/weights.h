// The table of a Llama's weights: one row a tensor of the Hugging Face layout. Declaring, checking, loading, saving and
// counting all read these rows.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ggq/buffer.h"
#include "ggq/io/sharded_safetensors.h"
#include "models/base_form.h"
#include "models/config.h"
#include "models/lora_config.h"

namespace ggq {

enum class WeightRole : uint8_t { embedding, norm, linear, bias, head };

struct WeightRow {
    std::string name;  // "model.layers.0.self_attn.q_proj.weight"
    Shape shape;       // linears [out, in]
    WeightRole role = WeightRole::linear;

    std::string module() const;  // the name without ".weight"; of a bias, which no adapter changes, all of it
};

std::vector<WeightRow> weight_rows(const LlamaConfig& config);

// The name under which a checkpoint holds a row: its own, or that of the head, where a tied model was saved under that
// one.
std::string stored_name(const std::string& row, const ShardedSafetensors& files);

// Modules that quantization and LoRA may reach: the linears but not the head.
std::vector<std::string> linear_modules(const LlamaConfig& config);

class Bnb4bitWeights;

// How a model is held in memory.
struct WeightChoice : BaseForm {
    WeightChoice() = default;
    explicit WeightChoice(const BaseForm& form) : BaseForm(form) {}

    bool train_all = false;          // every weight an f32 parameter
    std::optional<LoraConfig> lora;  // the linears that it names carry an adapter
    DType adapter_dtype = DType::f32;
};

bool is_adapted(const std::string& module, const WeightChoice& choice);

// The type of a weight in memory, given its type in the checkpoint. What is quantized there stays as it is, but for
// linears in blocks of GGUF where a format was wished for.
TensorType weight_type(const WeightRow& row, const TensorType& in_checkpoint, const WeightChoice& choice);

// Names of the linears that are quantized here but carry no adapter: such layers lose accuracy that nothing makes up
// for.
std::vector<std::string> quantized_without_adapter(const LlamaConfig& config, const WeightChoice& choice);

// Refuses, by name: missing and surplus tensors, other shapes, dtypes that are not f32, f16 or bf16. Those of
// `quantized` are checked already.
void check_weights(const LlamaConfig& config, const ShardedSafetensors& files, const Bnb4bitWeights& quantized);

// Fills a plain row's buffer from the files, cast or quantized; refuses NaN and infinity by name.
void load_weight(const WeightRow& row, const ShardedSafetensors& files, Store& store, const Buffer& to);

}  // namespace ggq
