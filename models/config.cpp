#include "models/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_set>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/family_config.h"
#include "models/rope.h"

namespace ggq {

namespace {

using nlohmann::json;

constexpr const char* kBitsandbytes = "bitsandbytes";
constexpr const char* kTokenIds = "a token id (a whole number from 0 to 2147483647) or a list of them";

void check_features(const JsonFields& fields) {
    const std::string activation = fields.text_or("hidden_act", "silu");
    require(activation == "silu" || activation == "swish", "{}: hidden_act '{}' is not supported; only 'silu' is",
            fields.where(), shown(activation));
    require(!fields.flag_or("mlp_bias", false), "{}: mlp_bias = true is not supported; only MLPs without bias are",
            fields.where());
    require(fields.positive_or("partial_rotary_factor", 1) == 1,
            "{}: partial_rotary_factor other than 1 is not supported", fields.where());
}

// Of the flag's two names: the one that transformers keeps for itself counts where the other is not there.
bool loads_in(const JsonFields& quantization, const std::string& flag) {
    return quantization.flag_or(flag.c_str(), quantization.flag_or(("_" + flag).c_str(), false));
}

DType read_4bit_type(const JsonFields& quantization) {
    const std::string type = quantization.text_or("bnb_4bit_quant_type", "fp4");
    if (type != "nf4" && type != "fp4") quantization.refuse("bnb_4bit_quant_type", "nf4 or fp4");
    return type == "nf4" ? DType::nf4 : DType::fp4;
}

std::optional<Bnb4bitConfig> read_quantization(const JsonFields& fields) {
    const json* section = fields.find("quantization_config");
    if (!section) return std::nullopt;
    const JsonFields quantization(*section, fields.where() + ", quantization_config");
    const bool in_4bit = loads_in(quantization, "load_in_4bit"), in_8bit = loads_in(quantization, "load_in_8bit");
    const std::string method =
        quantization.text_or("quant_method", in_4bit || in_8bit ? kBitsandbytes : "unknown method");
    require(method == kBitsandbytes && in_4bit != in_8bit,
            "{}: quantization_config: a checkpoint that is already quantized ({}) cannot be loaded, but for "
            "bitsandbytes in 4 or in 8 bits; take the original one, it is quantized while it is loaded",
            fields.where(), shown(method));
    if (in_8bit) return Bnb4bitConfig{DType::int8, false};
    return Bnb4bitConfig{read_4bit_type(quantization), quantization.flag_or("bnb_4bit_use_double_quant", false)};
}

// yarn is there for texts longer than the model was first trained with; files name one length or the other.
int64_t stretched_positions(const LlamaConfig& c) {
    if (c.rope.kind != RopeKind::yarn) return c.max_position_embeddings;
    constexpr double kMost = 1 << 30;
    const double stretched = c.rope.factor * static_cast<double>(c.rope.original_max_position_embeddings);
    return std::max(c.max_position_embeddings, static_cast<int64_t>(std::min(stretched, kMost)));
}

double read_dropout(const JsonFields& fields) {
    const json* value = fields.find("attention_dropout");
    if (!value) return 0;
    const bool ok = value->is_number() && value->get<double>() >= 0 && value->get<double>() <= 1;
    if (!ok) fields.refuse("attention_dropout", "a number from 0 to 1");
    return value->get<double>();
}

constexpr struct {
    const char* name;
    DType dtype;
} kTorchTypes[] = {{"float32", DType::f32}, {"float16", DType::f16}, {"bfloat16", DType::bf16}};

DType read_dtype(const JsonFields& fields) {
    const std::string text = fields.text_or("dtype", fields.text_or("torch_dtype", "float32"));
    std::string_view type = text;
    if (type.starts_with("torch.")) type.remove_prefix(6);
    if (type == "auto") return DType::f32;
    for (const auto& row : kTorchTypes)
        if (type == row.name) return row.dtype;
    fail("{}: the type '{}' is not supported; known are float32, float16, bfloat16", fields.where(), shown(text));
}

const char* torch_name(DType dtype) {
    for (const auto& row : kTorchTypes)
        if (dtype == row.dtype) return row.name;
    fail("a model cannot be saved as {}; known are f32, f16, bf16", name(dtype));
}

void read_token_ids(const JsonFields& fields, LlamaConfig& config) {
    const std::vector<int32_t> bos = fields.numbers_or_none("bos_token_id", kTokenIds);
    if (!config.bos_token_id && !bos.empty()) config.bos_token_id = bos.front();
    std::unordered_set<int32_t> known(config.eos_token_ids.begin(), config.eos_token_ids.end());
    for (int32_t id : fields.numbers_or_none("eos_token_id", kTokenIds))
        if (known.insert(id).second) config.eos_token_ids.push_back(id);
}

json ids_json(const std::vector<int32_t>& ids) {
    if (ids.empty()) return nullptr;
    return ids.size() == 1 ? json(ids.front()) : json(ids);
}

json json_of_new_config(const LlamaConfig& config) {
    const FamilyRow& row = row_of(config.family);
    json text = {{"architectures", {row.architecture}},
                 {"model_type", row.model_type},
                 {"hidden_act", "silu"},
                 {"attention_bias", config.o_bias},
                 {"mlp_bias", false},
                 {"bos_token_id", config.bos_token_id ? json(*config.bos_token_id) : json(nullptr)},
                 {"eos_token_id", ids_json(config.eos_token_ids)}};
    text.update(window_json(config));
    return text;
}

// Each width, the layers, the weights in all and the values that a token has in all layers: far beyond any model, and
// so far below 64 bits that bytes of them, for any number of tokens that a model has positions for, are.
constexpr int64_t kMostWide = int64_t{1} << 24;
constexpr int64_t kMostLayers = int64_t{1} << 12;
constexpr int64_t kMostWeights = int64_t{1} << 46;
constexpr int64_t kMostOfToken = int64_t{1} << 32;

void check_extent(const LlamaConfig& c, const std::string& where) {
    const int64_t q = c.num_attention_heads * c.head_dim;  // both fit 32 bits
    const std::tuple<const char*, int64_t, int64_t> sizes[] = {
        {"vocab_size", c.vocab_size, kMostWide},
        {"hidden_size", c.hidden_size, kMostWide},
        {"intermediate_size", c.intermediate_size, kMostWide},
        {"num_attention_heads * head_dim", q, kMostWide},
        {"max_position_embeddings", c.max_position_embeddings, kMostWide},
        {"num_hidden_layers", c.num_hidden_layers, kMostLayers}};
    for (const auto& [key, value, most] : sizes)
        require(value <= most, "{}: {} is {}; at most {} are held", where, key, value, most);
    const int64_t in_layer = c.hidden_size * (4 * q + 3 * c.intermediate_size);  // or less, by the key heads
    const int64_t beside = 2 * c.vocab_size * c.hidden_size;
    const bool held = beside <= kMostWeights && in_layer <= kMostWeights / c.num_hidden_layers &&
                      c.num_hidden_layers * (c.hidden_size + q + c.intermediate_size) <= kMostOfToken;
    require(held, "{}: these sizes make a model of {:.3g} weights in {} layers, beyond what is held", where,
            static_cast<double>(beside) + static_cast<double>(in_layer) * static_cast<double>(c.num_hidden_layers),
            c.num_hidden_layers);
}

}  // namespace

LlamaConfig parse_config(std::string_view json_text, const std::string& where) {
    const json content = parse_json(json_text, where);
    const JsonFields fields(content, where);
    const FamilyRow& family = read_family(fields);
    check_features(fields);
    LlamaConfig config;
    config.vocab_size = fields.count("vocab_size");
    config.hidden_size = fields.count("hidden_size");
    config.intermediate_size = fields.count("intermediate_size");
    config.num_hidden_layers = fields.count("num_hidden_layers");
    config.num_attention_heads = fields.count("num_attention_heads");
    config.num_key_value_heads = fields.count_or("num_key_value_heads", config.num_attention_heads);
    const int64_t share = config.hidden_size / config.num_attention_heads;
    config.head_dim = fields.count_or("head_dim", family.default_head_dim > 0 ? family.default_head_dim : share);
    require(
        fields.find("head_dim") || family.default_head_dim > 0 || config.hidden_size % config.num_attention_heads == 0,
        "{}: hidden_size {} is not divisible by num_attention_heads {}", where, config.hidden_size,
        config.num_attention_heads);
    config.max_position_embeddings = fields.count_or("max_position_embeddings", config.max_position_embeddings);
    config.rms_norm_eps = fields.positive_or("rms_norm_eps", config.rms_norm_eps);
    config.initializer_range = fields.positive_or("initializer_range", config.initializer_range);
    config.tie_word_embeddings = fields.flag_or("tie_word_embeddings", false);
    config.rope = read_rope(fields, config.max_position_embeddings, config.warnings);
    config.max_position_embeddings = stretched_positions(config);
    config.attention_dropout = read_dropout(fields);
    config.dtype = read_dtype(fields);
    config.quantization = read_quantization(fields);
    read_token_ids(fields, config);
    config.source = json_text;
    check_config(config, where);
    read_family_parts(fields, content, family, config);
    return config;
}

LlamaConfig read_config(const std::filesystem::path& folder) {
    const auto path = folder / "config.json";
    require(is_there(path), "{} is missing; a model folder in Hugging Face layout has one", path.string());
    LlamaConfig config = parse_config(read_side_file(path), path.string());
    const auto generation = folder / "generation_config.json";
    if (is_there(generation)) {
        const json content = parse_json(read_side_file(generation), generation.string());
        read_token_ids(JsonFields(content, generation.string()), config);
    }
    return config;
}

void check_config(const LlamaConfig& config, const std::string& where) {
    const std::pair<const char*, int64_t> sizes[] = {{"vocab_size", config.vocab_size},
                                                     {"hidden_size", config.hidden_size},
                                                     {"intermediate_size", config.intermediate_size},
                                                     {"num_hidden_layers", config.num_hidden_layers},
                                                     {"num_attention_heads", config.num_attention_heads},
                                                     {"num_key_value_heads", config.num_key_value_heads},
                                                     {"head_dim", config.head_dim},
                                                     {"max_position_embeddings", config.max_position_embeddings}};
    for (const auto& [key, value] : sizes) require(value > 0, "{}: {} must be 1 or more, got {}", where, key, value);
    require(config.num_attention_heads % config.num_key_value_heads == 0,
            "{}: num_attention_heads {} is not divisible by num_key_value_heads {}", where, config.num_attention_heads,
            config.num_key_value_heads);
    require(config.head_dim % 2 == 0, "{}: head_dim {} is odd; RoPE turns pairs", where, config.head_dim);
    check_extent(config, where);
}

std::string config_text(const LlamaConfig& config) {
    const bool fresh = config.source.empty();
    json text = fresh ? json_of_new_config(config) : parse_json(config.source, "config.json");
    const LlamaConfig before = fresh ? LlamaConfig{} : parse_config(config.source, "config.json");
    const auto set = [&](const char* key, const auto& old_value, const auto& value) {
        if (fresh || old_value != value) text[key] = value;
    };
    set("vocab_size", before.vocab_size, config.vocab_size);
    set("hidden_size", before.hidden_size, config.hidden_size);
    set("intermediate_size", before.intermediate_size, config.intermediate_size);
    set("num_hidden_layers", before.num_hidden_layers, config.num_hidden_layers);
    set("num_attention_heads", before.num_attention_heads, config.num_attention_heads);
    set("num_key_value_heads", before.num_key_value_heads, config.num_key_value_heads);
    set("head_dim", before.head_dim, config.head_dim);
    set("max_position_embeddings", before.max_position_embeddings, config.max_position_embeddings);
    set("rms_norm_eps", before.rms_norm_eps, config.rms_norm_eps);
    set("initializer_range", before.initializer_range, config.initializer_range);
    set("tie_word_embeddings", before.tie_word_embeddings, config.tie_word_embeddings);
    if (fresh || before.dtype != config.dtype)
        text[text.contains("dtype") ? "dtype" : "torch_dtype"] = torch_name(config.dtype);
    if (fresh || before.rope != config.rope) {
        text.erase("rope_parameters");
        text["rope_theta"] = config.rope.theta;
        text["rope_scaling"] = rope_json(config.rope);
    }
    return text.dump(2, ' ', true) + "\n";
}

std::string function_text(const LlamaConfig& c) {
    return fmt::format("{} {} {} {} {} {} {} {} {} rope {} {} {} {} {} {}", c.vocab_size, c.hidden_size,
                       c.intermediate_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads,
                       c.head_dim, c.rms_norm_eps, c.tie_word_embeddings, static_cast<int>(c.rope.kind), c.rope.theta,
                       c.rope.factor, c.rope.low_freq_factor, c.rope.high_freq_factor,
                       c.rope.original_max_position_embeddings) +
           family_text(c);
}

}  // namespace ggq
