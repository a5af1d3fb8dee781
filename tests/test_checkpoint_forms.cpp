// Checkpoints and adapters in the forms that other people's files have.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/adapter_files.h"
#include "models/model.h"
#include "tests/file_checks.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string refusal_of(const fs::path& model) {
    return error_of([&] { open_model(model); });
}

// Moves one file's tensors behind an index that names `more` too.
void add_index(const fs::path& model, const json& more) {
    json map = more;
    const SafetensorsFile file(model / "model.safetensors");
    for (const auto& [name, tensor] : file.tensors()) map[name] = "model-00001-of-00001.safetensors";
    fs::rename(model / "model.safetensors", model / "model-00001-of-00001.safetensors");
    write_text(model / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
}

}  // namespace

TEST_CASE("checkpoint: a tied model may be saved under the name of its head") {
    const Workplace place;
    const fs::path model = place.tied_model();
    const Generated plain = generate(greedy(model, "Once"));
    rename_tensors(model / "model.safetensors", [](const std::string& n) { return n == kTable ? kHead : n; });
    CHECK(generate(greedy(model, "Once")).text == plain.text);
    TrainOptions options = place.options(1);
    options.base.model = model;
    CHECK(train(options).steps.size() == 1);
    change_config(model, "tie_word_embeddings", false);
    check_contains(refusal_of(model), "model.embed_tokens.weight: expected a tensor of shape [512,64]");
}

TEST_CASE("checkpoint: buffers that nobody reads may be there, or be named by the index and not be there") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    const std::string text = generate(greedy(model, "Once")).text;
    add_index(model, {{"model.layers.0.self_attn.rotary_emb.inv_freq", "model-00001-of-00001.safetensors"},
                      {"model.layers.1.self_attn.rotary_emb.inv_freq", "model-00002-of-00002.safetensors"}});
    CHECK(generate(greedy(model, "Once")).text == text);
    const SafetensorsFile old(model / "model-00001-of-00001.safetensors");
    FileTensors tensors = old.tensors();
    for (const char* buffer : {"model.rotary_emb.original_inv_freq", "model.layers.0.self_attn.rotary_emb.cos_cached"})
        tensors[buffer] = tensors.at("model.norm.weight");
    write_safetensors(model / "model-00001-of-00001.safetensors", tensors);
    CHECK(generate(greedy(model, "Once")).text == text);
}

TEST_CASE("checkpoint: a tensor that the index names and no shard holds is missed by name, with the reason") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    rename_tensors(model / "model.safetensors", [](const std::string& n) { return n == "model.norm.weight" ? "" : n; });
    add_index(model, {{"model.norm.weight", "model-00002-of-00002.safetensors"}});
    CHECK(refusal_of(model) ==
          model.string() +
              ": model.norm.weight: expected a tensor of shape [64] in the checkpoint, found none; the shard "
              "model-00002-of-00002.safetensors is missing; download it again");
}

TEST_CASE("checkpoint: names with another prefix than 'model.' get a sentence that says so") {
    for (const std::string prefix : {"", "module.model.", "_orig_mod.model.", "\x1b[31mmodel."}) {
        const Workplace place;
        const fs::path model = place.copy_of_model();
        rename_tensors(model / "model.safetensors", [&](const std::string& n) {
            return n == kHead ? (prefix.empty() ? n : "") : prefix + n.substr(std::string("model.").size());
        });
        const std::string said = refusal_of(model);
        CHECK(said.starts_with((model / "model.safetensors").string() + ": names its tensors '"));
        check_contains(said,
                       "' is expected, so it was not saved as a LlamaForCausalLM; load it as one with "
                       "transformers and save it again");
        CHECK(said.find('\x1b') == std::string::npos);
    }
}

TEST_CASE("checkpoint: a tokenizer that is larger than the model is a warning, and no such token is chosen") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    const std::string text = generate(greedy(model, "Once")).text;
    json tokenizer = read_json(model / "tokenizer.json");
    json token = tokenizer["added_tokens"][0];
    token["id"] = 512;
    token["content"] = "<pad>";
    tokenizer["added_tokens"].push_back(token);
    write_text(model / "tokenizer.json", tokenizer.dump());
    const Generated answer = generate(greedy(model, "Once"));
    CHECK(answer.text == text);
    check_contains(
        answer.warnings,
        "the tokenizer has 513 tokens, the model's vocabulary 512; a text with a token beyond it is refused");
    check_contains(error_of([&] { generate(greedy(model, "Once <pad>")); }),
                   "token 512 ('<pad>') is beyond the model's vocabulary of 512");
    TrainOptions options = place.options(1);
    options.base.model = model;
    check_contains(train(options, std::nullopt, true).warnings, "the tokenizer has 513 tokens");
}

TEST_CASE("adapter: names with one adapter's own name are those without it") {
    const Workplace place;
    train(place.options(1));
    const fs::path file = place.out / "adapter_model.safetensors";
    fs::remove(place.out / "ggq_base.json");  // which has a hash of that file
    const std::string text = generate(greedy(place.model, "Once", place.out)).text;
    const auto with_name = [](const std::string& name, const std::string& adapter) {
        return name.substr(0, name.rfind(".weight")) + "." + adapter + ".weight";
    };
    rename_tensors(file, [&](const std::string& n) { return with_name(n, "default"); });
    CHECK(generate(greedy(place.model, "Once", place.out)).text == text);
    rename_tensors(file, [&](std::string n) {
        n.erase(n.rfind(".default"), std::string(".default").size());
        return with_name(n, n.find("q_proj") == std::string::npos ? "first" : "my adapter");
    });
    check_contains(error_of([&] { read_adapter(place.out); }),
                   "holds tensors of two adapters, 'first' and 'my adapter'");
    rename_tensors(file, [](const std::string&) { return "base_model.model.x.lora_bias"; });
    check_contains(error_of([&] { read_adapter(place.out); }),
                   "tensor 'base_model.model.x.lora_bias' is neither a lora_A nor a lora_B of a linear layer");
}

TEST_CASE("adapter: keys that say nothing are taken, known or not; any other that is not known is refused") {
    const json plain = {{"peft_type", "LORA"}, {"target_modules", {"q_proj"}}, {"r", 2}};
    const auto parse = [&](const char* key, const json& value) {
        json config = plain;
        config[key] = value;
        return parse_lora_config(config.dump(), "adapter_config.json");
    };
    for (const json& nothing : {json(), json(false), json(0), json(0.0), json(""), json::array(), json::object()}) {
        CAPTURE(nothing.dump());
        CHECK(parse("a_key_of_tomorrow", nothing).r == 2);
        CHECK(parse("layers_pattern", nothing).layers_pattern.empty());
    }
    for (const char* key : {"task_type", "bias", "base_model_name_or_path", "revision"}) CHECK(parse(key, "").r == 2);
    for (const json& some : {json(true), json(1), json("x"), json::array({0}), json({{"a", nullptr}})})
        CHECK(error_of([&] { parse("a_key_of_tomorrow", some); }) ==
              "adapter_config.json: a_key_of_tomorrow = " + some.dump() + " is not supported");
    CHECK(parse("layers_to_transform", 3.0).layers_to_transform == std::vector<int64_t>{3});
    for (const json& wrong : {json(1.5), json(-1), json(4294967296), json("1")})
        check_contains(error_of([&] { parse("layers_to_transform", wrong); }), "layers_to_transform must be ");
    CHECK(parse("r", 4.0).r == 4);
}

}  // namespace ggq::test
