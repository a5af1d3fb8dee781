// PEFT adapter folders: the configuration, PEFT's matching rules, reading, refusals, byte-true writing.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "models/adapter_files.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::content_of;
using ggq::test::error_of;
using ggq::test::TempDir;
using nlohmann::json;

namespace {

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";

json base_config() { return {{"peft_type", "LORA"}, {"target_modules", {"q_proj", "v_proj"}}}; }

LoraConfig parse(const json& config) { return parse_lora_config(config.dump(), "adapter_config.json"); }

std::string refusal(const char* key, const json& value) {
    json config = base_config();
    config[key] = value;
    return error_of([&] { parse(config); });
}

LoraConfig with_targets(const json& targets) {
    json config = base_config();
    config["target_modules"] = targets;
    return parse(config);
}

// One module with rank 2, in 3, out 4.
struct SmallAdapter {
    std::vector<float> a = {1, 2, 3, 4, 5, 6};
    std::vector<float> b = {1, 2, 3, 4, 5, 6, 7, 8};

    FileTensor a_tensor() const { return {a.data(), DType::f32, {2, 3}}; }
    FileTensor b_tensor() const { return {b.data(), DType::f32, {4, 2}}; }
    LoraModules modules() const { return {{kQ, {a_tensor(), b_tensor()}}}; }

    void write(const fs::path& folder, const FileTensors& tensors) const {
        fs::create_directories(folder);
        json config = base_config();
        config["r"] = 2;
        write_file(folder / "adapter_config.json", config.dump());
        write_safetensors(folder / "adapter_model.safetensors", tensors);
    }
};

std::vector<fs::path> adapter_folders(const fs::path& root) {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::recursive_directory_iterator(root))
        if (entry.path().filename() == "adapter_model.safetensors") folders.push_back(entry.path().parent_path());
    return folders;
}

}  // namespace

TEST_CASE("a short adapter_config.json has PEFT's defaults") {
    const LoraConfig config = parse(base_config());
    CHECK(config.r == 8);
    CHECK(config.alpha == 8);
    CHECK(config.dropout == 0);
    CHECK(!config.use_rslora);
    CHECK(config.target_modules == std::vector<std::string>{"q_proj", "v_proj"});
    CHECK(config.layers_to_transform.empty());
}

TEST_CASE("features of PEFT that are not held are refused by name") {
    const std::pair<const char*, json> switched_on[] = {
        {"lora_bias", true},
        {"layer_replication", {{0, 4}, {2, 5}}},
        {"trainable_token_indices", {1, 2}},
        {"target_parameters", {"experts.gate_up_proj"}},
        {"megatron_config", {{"a", 1}}},
        {"loftq_config", {{"loftq_bits", 4}}},
        {"fan_in_fan_out", true},
        {"alora_invocation_tokens", {1}},
        {"use_qalora", true},
        {"a_feature_of_tomorrow", "yes"},
    };
    for (const auto& [key, value] : switched_on)
        CHECK(refusal(key, value) == fmt::format("adapter_config.json: {} = {} is not supported", key, value.dump()));
    CHECK(refusal("bias", "all") == "adapter_config.json: bias 'all' is not supported; only 'none' is");
    CHECK(refusal("peft_type", "IA3") == "adapter_config.json: peft_type 'IA3' is not supported; only LORA is");
    CHECK(refusal("peft_type", nullptr) == "adapter_config.json: peft_type '' is not supported; only LORA is");
    CHECK(refusal("task_type", "SEQ_CLS") ==
          "adapter_config.json: task_type 'SEQ_CLS' is not supported; only CAUSAL_LM is");
    check_contains(refusal("init_lora_weights", "pissa"), "init_lora_weights = \"pissa\" is not supported, since it");
    for (const json& off : {json(nullptr), json(false), json::array(), json::object()})
        CHECK(refusal("a_feature_of_tomorrow", off) == "no error");
    for (const json& init : {json(nullptr), json(true), json("gaussian")})
        CHECK(refusal("init_lora_weights", init) == "no error");
}

TEST_CASE("ranks, rates and targets that make no sense are refused") {
    check_contains(refusal("target_modules", "("),
                   "adapter_config.json: target_modules: regular expression '(' is not valid at byte 1");
    CHECK(refusal("r", 0) == "adapter_config.json: r must be a whole number of 1 or more, got 0");
    CHECK(refusal("lora_alpha", -1) == "adapter_config.json: lora_alpha must be a number above zero, got -1");
    CHECK(refusal("lora_dropout", 1) == "adapter_config.json: lora_dropout must be at least 0 and below 1, got 1");
    CHECK(refusal("lora_dropout", "x") == "adapter_config.json: lora_dropout must be a number, got \"x\"");
    check_contains(refusal("target_modules", nullptr), "target_modules must be a list of module names");
    CHECK(refusal("target_modules", json::array()) == "adapter_config.json: target_modules is empty");
    check_contains(refusal("target_modules", {1}), "target_modules must be a text or a list of texts");
    check_contains(refusal("target_modules", "q_proj("), "is not valid at byte");
    CHECK(refusal("layers_to_transform", -1) ==
          "adapter_config.json: layers_to_transform must be a layer number or a list of them, got -1");
    CHECK(refusal("rank_pattern", {{"q_proj", 0}}) ==
          "adapter_config.json, rank_pattern: q_proj must be a whole number of 1 or more, got 0");
    json config = base_config();
    config["target_modules"] = ".*q_proj";
    for (const char* key : {"layers_to_transform", "rank_pattern", "alpha_pattern"})
        for (const json& nothing : {json(""), json(nullptr), json::array()}) {
            CAPTURE(key);
            json empty = config;
            empty[key] = nothing;
            CHECK(error_of([&] { parse(empty); }) == "no error");
        }
    config["layers_to_transform"] = {1};
    check_contains(error_of([&] { parse(config); }), "layers_to_transform cannot go with target_modules as a regular");
    LoraConfig made;
    made.target_pattern = kAllLinear;
    made.r = -1;
    CHECK(error_of([&] { check_lora_config(made, "`lora_r`"); }) ==
          "`lora_r`: the LoRA rank r must be 1 or more, got -1");
    made.r = 1;
    made.alpha = std::nan("");
    CHECK(error_of([&] { check_lora_config(made, "`lora_alpha`"); }) ==
          "`lora_alpha`: lora_alpha must be above zero, got nan");
    made.alpha = 1;
    made.dropout = std::nan("");
    CHECK_THROWS_AS(check_lora_config(made, "--lora-dropout"), Error);
}

TEST_CASE("modules match as in PEFT") {
    const LoraConfig list = with_targets({"q_proj", "mlp.up_proj", "lm_head"});
    CHECK(module_matches(kQ, list));
    CHECK(module_matches("model.layers.3.mlp.up_proj", list));
    CHECK(module_matches("lm_head", list));
    CHECK(!module_matches("model.layers.3.self_attn.my_q_proj", list));
    CHECK(!module_matches("model.layers.3.self_attn.q_proj_2", list));
    CHECK(!module_matches("model.layers.3.attn.up_proj", list));

    const LoraConfig pattern = with_targets(R"(model\.layers\.[02]\.(self_attn|mlp)\..*(q|up)_proj)");
    CHECK(module_matches(kQ, pattern));
    CHECK(module_matches("model.layers.2.mlp.up_proj", pattern));
    CHECK(!module_matches("model.layers.1.mlp.up_proj", pattern));
    CHECK(!module_matches("model.layers.2.mlp.up_proj.more", pattern));
    CHECK(!module_matches("base.model.layers.2.mlp.up_proj", pattern));
    CHECK(module_matches("a.b", with_targets("a|a.b")));

    const LoraConfig all = with_targets("all-linear");
    CHECK(module_matches(kQ, all));
    CHECK(!module_matches("lm_head", all));
}

TEST_CASE("layers_to_transform chooses layers by number") {
    json text = base_config();
    text["layers_to_transform"] = 2;
    CHECK(parse(text).layers_to_transform == std::vector<int64_t>{2});
    text["layers_to_transform"] = {0, 12};
    LoraConfig config = parse(text);
    CHECK(module_matches(kQ, config));
    CHECK(module_matches("model.layers.12.self_attn.v_proj", config));
    CHECK(!module_matches("model.layers.1.self_attn.q_proj", config));
    CHECK(!module_matches("model.layers.12.mlp.up_proj", config));
    CHECK(!module_matches("model.q_proj", config));
    config.layers_pattern = {"h", "layers"};
    CHECK(module_matches(kQ, config));
    config.layers_pattern = {"h"};
    CHECK(!module_matches(kQ, config));
}

TEST_CASE("rank and scale follow the patterns and rsLoRA") {
    json text = base_config();
    text["r"] = 16;
    text["lora_alpha"] = 32;
    text["rank_pattern"] = {{R"(layers\.[01]\.self_attn\.q_proj)", 4}, {"up_proj", 2}};
    text["alpha_pattern"] = {{"up_proj", 5.5}};
    LoraConfig config = parse(text);
    CHECK(lora_rank(kQ, config) == 4);
    CHECK(lora_rank("model.layers.2.self_attn.q_proj", config) == 16);
    CHECK(lora_rank("model.layers.2.mlp.up_proj", config) == 2);
    CHECK(lora_rank("model.layers.2.mlp.my_up_proj", config) == 16);
    CHECK(lora_scale("model.layers.2.self_attn.q_proj", config) == 2);
    CHECK(lora_scale(kQ, config) == 8);
    CHECK(lora_scale("model.layers.2.mlp.up_proj", config) == 2.75);
    config.use_rslora = true;
    CHECK(lora_scale("model.layers.2.self_attn.q_proj", config) == 8);
    CHECK(lora_scale(kQ, config) == 16);
}

TEST_CASE("of several patterns that match, the first in the file counts, and the order is kept") {
    const std::string text = R"({"peft_type": "LORA", "target_modules": ["q_proj"], "r": 16, "lora_alpha": 1,
        "rank_pattern": {"self_attn.q_proj": 4, "q_proj": 2}, "alpha_pattern": {"z|q_proj": 8, "q_proj": 16}})";
    LoraConfig config = parse_lora_config(text, "adapter_config.json");
    CHECK(lora_rank(kQ, config) == 4);
    CHECK(lora_scale(kQ, config) == 2);
    config.r = 32;
    const LoraConfig again = parse_lora_config(lora_config_text(config, {}), "adapter_config.json");
    CHECK(again.rank_pattern == config.rank_pattern);
    config.source.clear();
    const LoraConfig fresh = parse_lora_config(lora_config_text(config, {}), "adapter_config.json");
    CHECK(fresh.rank_pattern == config.rank_pattern);
    CHECK(fresh.alpha_pattern == config.alpha_pattern);
}

TEST_CASE("a new configuration has the keys that every PEFT knows, sorted") {
    LoraConfig config;
    config.r = 16;
    config.alpha = 32;
    config.dropout = 0.05;
    config.target_pattern = kAllLinear;
    config.layers_to_transform = {6, 7};
    config.base_model = "models/llama";
    const std::string text = lora_config_text(config, {"model.layers.6.mlp.up_proj", kQ, "model.layers.7.mlp.up_proj"});
    CHECK(text == R"({
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "models/llama",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": [
    6,
    7
  ],
  "loftq_config": {},
  "lora_alpha": 32,
  "lora_dropout": 0.05,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 16,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "up_proj",
    "q_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
})");
    const LoraConfig read = parse_lora_config(text, "adapter_config.json");
    CHECK(read.target_modules == std::vector<std::string>{"up_proj", "q_proj"});
    CHECK(read.layers_to_transform == config.layers_to_transform);
    CHECK(read.base_model == config.base_model);
    LoraConfig changed = read;
    changed.r = 4;
    CHECK(json::parse(lora_config_text(changed, {}))["r"] == 4);
}

TEST_CASE("PEFT's configurations are written back to the byte") {
    const auto root = test::fixtures();
    std::vector<fs::path> files;
    if (root)
        for (const auto& entry : fs::recursive_directory_iterator(*root / "golden"))
            if (entry.path().extension() == ".json" &&
                content_of(entry.path()).find("\"peft_type\"") != std::string::npos)
                files.push_back(entry.path());
    if (files.empty()) return test::skipped("adapter configurations of PEFT are absent");
    for (const fs::path& path : files) {
        CAPTURE(path);
        const LoraConfig config = parse_lora_config(content_of(path), path.string());
        CHECK(lora_config_text(config, {kQ}) == content_of(path));
    }
}

TEST_CASE("PEFT's adapter folders are read whole and written back to the byte") {
    const auto root = test::fixtures();
    const auto folders =
        root && fs::exists(*root / "golden") ? adapter_folders(*root / "golden") : std::vector<fs::path>{};
    if (folders.empty()) return test::skipped("golden adapter folders are absent");
    for (const fs::path& folder : folders) {
        CAPTURE(folder);
        const Adapter adapter = read_adapter(folder);
        CHECK(2 * adapter.modules.size() == SafetensorsFile(adapter.file).tensors().size());
        CHECK(!adapter.base);
        for (const auto& [module, pair] : adapter.modules) CHECK(module_matches(module, adapter.config));
        const TempDir dir;
        write_adapter(dir.path(), adapter.config, adapter.modules, adapter.base);
        for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
            CHECK(content_of(dir / file) == content_of(folder / file));
    }
}

TEST_CASE("names are accepted without the leading base_model.model too") {
    const TempDir dir;
    const SmallAdapter small;
    const std::string plain = kQ;
    small.write(dir / "a", {{plain + ".lora_A.weight", small.a_tensor()},
                            {"base_model.model." + plain + ".lora_B.weight", small.b_tensor()}});
    const Adapter adapter = read_adapter(dir / "a");
    REQUIRE(adapter.modules.contains(kQ));
    CHECK(adapter.modules.at(kQ).a.shape == Shape{2, 3});
    CHECK(adapter.modules.at(kQ).b.shape == Shape{4, 2});
    CHECK(static_cast<const float*>(adapter.modules.at(kQ).b.data)[7] == 8);
}

TEST_CASE("a tensor that is not one of a pair is refused by name") {
    const TempDir dir;
    const SmallAdapter small;
    const std::string a = std::string("base_model.model.") + kQ + ".lora_A.weight";
    const std::string b = std::string("base_model.model.") + kQ + ".lora_B.weight";
    const auto refused = [&](const FileTensors& tensors) {
        small.write(dir / "a", tensors);
        return error_of([&] { read_adapter(dir / "a"); });
    };
    check_contains(refused({{a, small.a_tensor()}}), std::string("'") + kQ + "' has a lora_A but no lora_B");
    check_contains(refused({{b, small.b_tensor()}}), std::string("'") + kQ + "' has a lora_B but no lora_A");
    check_contains(refused({}), "holds no tensor");
    check_contains(
        refused(
            {{a, small.a_tensor()}, {b, small.b_tensor()}, {"base_model.model.model.norm.weight", small.a_tensor()}}),
        "tensor 'base_model.model.model.norm.weight' is neither a lora_A nor a lora_B");
    check_contains(refused({{a, small.a_tensor()}, {std::string(kQ) + ".lora_A.weight", small.a_tensor()}}),
                   "is there twice, with and without 'base_model.model.'");
    check_contains(refused({{a, small.b_tensor()}, {b, small.b_tensor()}}),
                   "has lora_A [4,2] and lora_B [4,2], but adapter_config.json says rank 2");
    check_contains(refused({{a, {small.a.data(), DType::i32, {2, 3}}}, {b, small.b_tensor()}}),
                   "is i32[2,3]; expected a float matrix");
    check_contains(refused({{a, {small.a.data(), DType::f32, {6}}}, {b, small.b_tensor()}}),
                   "is f32[6]; expected a float matrix");
}

TEST_CASE("a folder that is no adapter is refused with advice") {
    const TempDir dir;
    const auto refused = [&] { return error_of([&] { read_adapter(dir / "a"); }); };
    check_contains(refused(), "is not there");
    fs::create_directory(dir / "a");
    check_contains(refused(), "is no adapter folder: adapter_model.safetensors is missing");
    write_file(dir / "a" / "adapter_model.bin", "");
    check_contains(refused(), "holds its adapter only as adapter_model.bin, which cannot be read safely");
    write_file(dir / "a" / "adapter_model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    check_contains(refused(), "is no adapter folder: adapter_config.json is missing");
    write_file(dir / "a" / "adapter_config.json", base_config().dump());
    check_contains(refused(), "adapter_model.safetensors is a Git LFS pointer");
    write_file(dir / "a" / "adapter_config.json", "{\n");
    check_contains(refused(), "adapter_config.json: broken JSON on line 2");
}

TEST_CASE("a saved adapter reads back with its base record and its tokenizer beside it") {
    const TempDir dir;
    const SmallAdapter small;
    LoraConfig config;
    config.r = 2;
    config.target_modules = {"q_proj"};
    BaseRecord base;
    base.path = "models/llama";
    base.hash = "ef46db3751d8e999";
    base.form.quant = DType::nf4;
    base.form.quant_spec = {128, false};
    base.form.quant_only_adapted = true;
    base.form.lift_f32 = true;
    base.form.compute_dtype = DType::bf16;
    fs::create_directory(dir / "base");
    write_file(dir / "base" / "tokenizer.json", "{}");
    write_file(dir / "base" / "added_tokens.json", "{}");
    write_file(dir / "base" / "chat_template.json", "{}");
    write_file(dir / "base" / "model.safetensors", "not copied");
    fs::create_directory(dir / "out");
    write_adapter(dir / "out", config, small.modules(), base);
    copy_tokenizer_files(dir / "base", dir / "out");
    const Adapter adapter = read_adapter(dir / "out");
    CHECK(adapter.base == base);
    CHECK(adapter.config.r == 2);
    CHECK(adapter.modules.size() == 1);
    CHECK(content_of(dir / "out" / "tokenizer.json") == "{}");
    CHECK(std::distance(fs::directory_iterator(dir / "out"), fs::directory_iterator()) == 6);
    CHECK(!read_base_record(dir / "base"));
    write_file(dir / "out" / "ggq_base.json", R"({"version": 2})");
    check_contains(error_of([&] { read_base_record(dir / "out"); }),
                   "ggq_base.json: version 2 is newer than this program; known is 1");
    write_file(dir / "out" / "ggq_base.json", R"({"version": 1, "quant_block": 0})");
    check_contains(error_of([&] { read_base_record(dir / "out"); }), "quant_block must be a whole number of 1 or more");
}
