// config.json: both spellings of RoPE, defaults, refusals, rewriting; the rotary frequencies.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "models/config.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::error_of;
using ggq::test::TempDir;
using nlohmann::json;

namespace {

json base_config() {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"vocab_size", 320},
            {"hidden_size", 64},
            {"intermediate_size", 160},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 4}};
}

json with(const char* key, const json& value) {
    json config = base_config();
    config[key] = value;
    return config;
}

LlamaConfig parse(const json& config) { return parse_config(config.dump(), "config.json"); }

std::string refusal(const json& config) {
    return error_of([&] { parse(config); });
}

const json kLlama3Scaling = {{"rope_type", "llama3"},
                             {"factor", 8.0},
                             {"low_freq_factor", 1.0},
                             {"high_freq_factor", 4.0},
                             {"original_max_position_embeddings", 8192}};

json without(json object, const char* key) {
    object.erase(key);
    return object;
}

std::vector<fs::path> model_folders(const fs::path& root) {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::recursive_directory_iterator(root))
        if (entry.path().filename() == "config.json") folders.push_back(entry.path().parent_path());
    return folders;
}

}  // namespace

TEST_CASE("a short config.json has the defaults of transformers") {
    const LlamaConfig config = parse(base_config());
    CHECK(config.vocab_size == 320);
    CHECK(config.num_hidden_layers == 2);
    CHECK(config.num_key_value_heads == 4);
    CHECK(config.head_dim == 16);
    CHECK(config.max_position_embeddings == 2048);
    CHECK(config.rms_norm_eps == 1e-6);
    CHECK(!config.tie_word_embeddings);
    CHECK(config.rope == RopeConfig{});
    CHECK(config.dtype == DType::f32);
    CHECK(!config.bos_token_id);
    CHECK(config.eos_token_ids.empty());
}

TEST_CASE("null stands for a default") {
    json config = base_config();
    for (const char* key : {"num_key_value_heads", "head_dim", "rope_scaling", "quantization_config", "bos_token_id"})
        config[key] = nullptr;
    CHECK(parse(config).head_dim == 16);
    CHECK(parse(config).num_key_value_heads == 4);
}

TEST_CASE("RoPE scaling is read in every spelling") {
    json old = base_config();
    old["rope_theta"] = 500000.0;
    old["rope_scaling"] = kLlama3Scaling;
    json older = old;
    older["rope_scaling"].erase("rope_type");
    older["rope_scaling"]["type"] = "llama3";
    json newer = base_config();
    newer["rope_parameters"] = kLlama3Scaling;
    newer["rope_parameters"]["rope_theta"] = 500000.0;
    const RopeConfig expected{RopeKind::llama3, 500000, 8, 1, 4, 8192};
    CHECK(parse(old).rope == expected);
    CHECK(parse(older).rope == expected);
    CHECK(parse(newer).rope == expected);
    CHECK(parse(with("rope_scaling", {{"type", "linear"}, {"factor", 2}})).rope ==
          RopeConfig{RopeKind::linear, 10000, 2});
    check_contains(error_of([] {
                       parse(with("rope_parameters", {{"full_attention", {{"rope_type", "linear"}, {"factor", 4}}}}));
                   }),
                   "'full_attention' has a form of its own for some layers");
    CHECK(parse(with("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 100}})).rope ==
          RopeConfig{RopeKind::plain, 100});
}

TEST_CASE("the type of the checkpoint is read in both spellings") {
    CHECK(parse(with("torch_dtype", "bfloat16")).dtype == DType::bf16);
    CHECK(parse(with("dtype", "float16")).dtype == DType::f16);
    CHECK(refusal(with("dtype", "float8_e4m3fn")) ==
          "config.json: the type 'float8_e4m3fn' is not supported; known are float32, float16, bfloat16");
}

TEST_CASE("what is not held is refused by name") {
    const std::pair<json, const char*> cases[] = {
        {with("architectures", {"GemmaForCausalLM"}),
         "config.json: the architecture [\"GemmaForCausalLM\"] is not known; known are 'LlamaForCausalLM', "
         "'MistralForCausalLM', 'Qwen2ForCausalLM', 'Qwen3ForCausalLM'"},
        {with("model_type", "gemma"),
         "config.json: the model_type 'gemma' is not known; known are 'llama', 'mistral', 'qwen2', 'qwen3'"},
        {without(without(base_config(), "architectures"), "model_type"),
         "config.json: the model_type '' is not known; known are 'llama', 'mistral', 'qwen2', 'qwen3'"},
        {with("hidden_act", "gelu"), "config.json: hidden_act 'gelu' is not supported; only 'silu' is"},
        {with("mlp_bias", true), "config.json: mlp_bias = true is not supported; only MLPs without bias are"},
        {with("partial_rotary_factor", 0.5), "config.json: partial_rotary_factor other than 1 is not supported"},
        {with("quantization_config", {{"quant_method", "bitsandbytes"}}),
         "config.json: quantization_config: a checkpoint that is already quantized (bitsandbytes) cannot be loaded, "
         "but "
         "for bitsandbytes in 4 or in 8 bits; take the original one, it is quantized while it is loaded"},
        {with("rope_scaling", {{"rope_type", "longrope"}, {"factor", 2}}),
         "config.json, rope_scaling: the RoPE kind 'longrope' is not known; known are default, linear, llama3, yarn, "
         "dynamic"},
        {with("rope_scaling", {{"rope_type", "yarn"}}),
         "config.json, rope_scaling: factor must be a number above zero, got nothing"},
        {with("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", 1}}),
         "config.json, rope_scaling: beta_fast 1 must be above beta_slow 1"},
        {with("rope_scaling", {{"type", "linear"}}),
         "config.json, rope_scaling: factor must be a number above zero, got nothing"},
        {with("rope_scaling", without(kLlama3Scaling, "original_max_position_embeddings")),
         "config.json, rope_scaling: original_max_position_embeddings must be a whole number of 1 or more, got "
         "nothing"},
        {with("rope_scaling", "linear"), "config.json, rope_scaling: expected a JSON object"},
    };
    for (const auto& [config, expected] : cases) {
        CAPTURE(expected);
        CHECK(refusal(config) == expected);
    }
}

TEST_CASE("sizes that make no sense are refused by name") {
    const json wrong[] = {0, -5, 1.5, "64", nullptr, 4294967296};
    for (const char* key :
         {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
        for (const json& value : wrong)
            CHECK(refusal(with(key, value)) ==
                  fmt::format("config.json: {} must be a whole number of 1 or more, got {}", key,
                              value.is_null() ? "nothing" : value.dump()));
    for (const char* key : {"rms_norm_eps", "rope_theta", "initializer_range"})
        for (const json& value : {json(0), json(-1e-5), json("x")})
            CHECK(refusal(with(key, value)) ==
                  fmt::format("config.json: {} must be a number above zero, got {}", key, value.dump()));
    CHECK(error_of([] { parse_config("{\n\"rms_norm_eps\": NaN}", "config.json"); }).find("broken JSON on line 2") !=
          std::string::npos);
    CHECK(refusal(with("num_attention_heads", 5)) ==
          "config.json: hidden_size 64 is not divisible by num_attention_heads 5");
    CHECK(refusal(with("num_key_value_heads", 3)) ==
          "config.json: num_attention_heads 4 is not divisible by num_key_value_heads 3");
    CHECK(refusal(with("head_dim", 15)) == "config.json: head_dim 15 is odd; RoPE turns pairs");
    CHECK(refusal(with("eos_token_id", "</s>")) ==
          "config.json: eos_token_id must be a token id (a whole number from 0 to 2147483647) or a list of them, got "
          "\"</s>\"");
    CHECK(refusal(with("tie_word_embeddings", 1)) == "config.json: tie_word_embeddings must be true or false, got 1");
    json scaling = kLlama3Scaling;
    scaling["low_freq_factor"] = 4.0;
    CHECK(refusal(with("rope_scaling", scaling)) ==
          "config.json, rope_scaling: low_freq_factor 4 must be below high_freq_factor 4");
}

TEST_CASE("stop ids come from both files of a folder") {
    const TempDir dir;
    CHECK(error_of([&] { read_config(dir.path()); }) ==
          (dir / "config.json").string() + " is missing; a model folder in Hugging Face layout has one");
    json config = with("eos_token_id", {128001, 128009});
    config["bos_token_id"] = 128000;
    write_file(dir / "config.json", config.dump());
    CHECK(read_config(dir.path()).eos_token_ids == std::vector<int32_t>{128001, 128009});
    write_file(dir / "generation_config.json", R"({"bos_token_id": 1, "eos_token_id": [128001, 128008]})");
    const LlamaConfig read = read_config(dir.path());
    CHECK(read.bos_token_id == 128000);
    CHECK(read.eos_token_ids == std::vector<int32_t>{128001, 128009, 128008});
}

TEST_CASE("a config that was read is written with its changes only") {
    json source = with("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 10000.0}});
    source["dtype"] = "bfloat16";
    source["transformers_version"] = "5.17.0";
    LlamaConfig config = parse(source);
    CHECK(config_text(config) == source.dump(2) + "\n");
    config.dtype = DType::f32;
    config.tie_word_embeddings = true;
    source["dtype"] = "float32";
    source["tie_word_embeddings"] = true;
    CHECK(config_text(config) == source.dump(2) + "\n");
    config.rope = {RopeKind::linear, 10000, 2};
    const json rewritten = json::parse(config_text(config));
    CHECK(!rewritten.contains("rope_parameters"));
    CHECK(parse(rewritten).rope == config.rope);
}

TEST_CASE("a config that was made in memory reads back the same") {
    LlamaConfig config = parse(base_config());
    config.source.clear();
    config.num_key_value_heads = 2;
    config.head_dim = 24;
    config.rms_norm_eps = 1e-5;
    config.initializer_range = 0.07;
    config.rope = {RopeKind::llama3, 500000, 32, 1, 4, 8192};
    config.dtype = DType::bf16;
    config.bos_token_id = 1;
    config.eos_token_ids = {2, 3};
    const LlamaConfig read = parse_config(config_text(config), "config.json");
    CHECK(read.num_key_value_heads == 2);
    CHECK(read.head_dim == 24);
    CHECK(read.rms_norm_eps == 1e-5);
    CHECK(read.initializer_range == 0.07);
    CHECK(read.rope == config.rope);
    CHECK(read.dtype == DType::bf16);
    CHECK(read.bos_token_id == 1);
    CHECK(read.eos_token_ids == config.eos_token_ids);
    config.dtype = DType::nf4;
    CHECK(error_of([&] { config_text(config); }) == "a model cannot be saved as nf4; known are f32, f16, bf16");
}

TEST_CASE("rotary frequencies follow the rules of their kind") {
    LlamaConfig config = parse(base_config());
    config.head_dim = 128;
    config.rope.theta = 500000;
    const std::vector<float> plain = rope_frequencies(config);
    REQUIRE(plain.size() == 64);
    for (size_t i = 0; i < plain.size(); ++i)
        CHECK(plain[i] == doctest::Approx(std::pow(500000.0, -static_cast<double>(i) / 64)).epsilon(1e-6));

    config.rope.kind = RopeKind::linear;
    config.rope.factor = 4;
    for (size_t i = 0; i < plain.size(); ++i) CHECK(rope_frequencies(config)[i] == plain[i] / 4);

    config.rope = {RopeKind::llama3, 500000, 8, 1, 4, 8192};
    const std::vector<float> scaled = rope_frequencies(config);
    int kept = 0, slowed = 0, blended = 0;
    for (size_t i = 0; i < plain.size(); ++i) {
        const double frequency = plain[i];
        const double turns = 8192 * frequency / (2 * std::numbers::pi);  // of this frequency in the old context
        const double smooth = (turns - 1) / 3;
        const double expected = turns < 1   ? frequency / 8
                                : turns > 4 ? frequency
                                            : frequency * ((1 - smooth) / 8 + smooth);
        CHECK(scaled[i] == doctest::Approx(expected).epsilon(1e-6));
        ++(turns < 1 ? slowed : turns > 4 ? kept : blended);
    }
    CHECK(kept > 0);
    CHECK(slowed > 0);
    CHECK(blended > 0);
}

TEST_CASE("what changes the function of a model changes its text, and no spelling does") {
    const std::string text = function_text(parse(base_config()));
    const auto changed = [&](const char* key, const json& value) {
        json config = base_config();
        config[key] = value;
        return function_text(parse(config)) != text;
    };
    CHECK(changed("rope_theta", 500000));
    CHECK(changed("rms_norm_eps", 1e-5));
    CHECK(changed("rope_scaling", {{"rope_type", "linear"}, {"factor", 2}}));
    CHECK(changed("tie_word_embeddings", true));
    CHECK(changed("num_key_value_heads", 2));
    CHECK_FALSE(changed("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 10000}}));
    CHECK_FALSE(changed("max_position_embeddings", 99));
    CHECK_FALSE(changed("eos_token_id", {2, 3}));
    CHECK_FALSE(changed("torch_dtype", "bfloat16"));
}

TEST_CASE("the reference models' configs are read and written back unchanged") {
    const auto root = test::fixtures();
    const auto folders = root ? model_folders(*root / "golden") : std::vector<fs::path>{};
    if (folders.empty()) return test::skipped("model folders with a config.json are absent");
    for (const fs::path& folder : folders) {
        CAPTURE(folder);
        std::ifstream file(folder / "config.json");
        const json content = json::parse(file);
        const LlamaConfig config = read_config(folder);
        CHECK(config.quantization.has_value() == content.contains("quantization_config"));
        CHECK(config.hidden_size == content["hidden_size"].get<int64_t>());
        CHECK(json::parse(config_text(config)) == content);
        CHECK(rope_frequencies(config).size() == static_cast<size_t>(config.head_dim / 2));
    }
}
