// config.json in the forms that other people's files have: what transformers takes is taken, what it would take in
// another way than is written is said, and sizes that no model has are refused before they are counted with.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/config.h"
#include "tests/file_checks.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

using nlohmann::json;

json with(const char* key, const json& value) {
    json config = {{"model_type", "llama"},    {"vocab_size", 320},      {"hidden_size", 64},
                   {"intermediate_size", 160}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}};
    config[key] = value;
    return config;
}

LlamaConfig parse(const json& config) { return parse_config(config.dump(), "config.json"); }

std::string refusal(const json& config) {
    return error_of([&] { parse(config); });
}

}  // namespace

// What transformers 4.57 and 5.24 make of each.
TEST_CASE("config: of rope_scaling and rope_parameters the first counts, unless it says nothing") {
    const json linear = {{"type", "linear"}, {"factor", 4.0}};
    const json other = {{"rope_type", "default"}, {"rope_theta", 50000.0}};
    json both = with("rope_scaling", linear);
    both["rope_parameters"] = other;
    CHECK(parse(both).rope == RopeConfig{RopeKind::linear, 10000, 4});
    CHECK(parse(both).warnings ==
          std::vector<std::string>{
              "config.json: has rope_scaling and rope_parameters; rope_scaling counts, as in transformers"});
    both["rope_theta"] = 777.0;
    CHECK(parse(both).rope == RopeConfig{RopeKind::linear, 777, 4});
    both["rope_scaling"]["rope_theta"] = 7.0;
    CHECK(parse(both).rope == RopeConfig{RopeKind::linear, 7, 4});
    for (const json& nothing : {json(), json::object(), json(false), json("")}) {
        CAPTURE(nothing.dump());
        both["rope_scaling"] = nothing;
        CHECK(parse(both).rope == RopeConfig{RopeKind::plain, 50000});
        CHECK(parse(both).warnings.empty());
    }
    both["rope_parameters"] = json::object();
    CHECK(parse(both).rope == RopeConfig{RopeKind::plain, 777});
    CHECK(refusal(with("rope_scaling", "linear")) == "config.json, rope_scaling: expected a JSON object");
}

TEST_CASE("config: harmless spellings are taken") {
    CHECK(parse(with("torch_dtype", "auto")).dtype == DType::f32);
    CHECK(parse(with("torch_dtype", "torch.float32")).dtype == DType::f32);
    CHECK(parse(with("dtype", "torch.bfloat16")).dtype == DType::bf16);
    CHECK(parse(with("max_position_embeddings", 8192.0)).max_position_embeddings == 8192);
    CHECK(parse(with("hidden_size", 128.0)).head_dim == 32);
    CHECK(parse(with("hidden_act", "swish")).hidden_size == 64);
    CHECK(parse(with("eos_token_id", json::array({2.0, 3}))).eos_token_ids == std::vector<int32_t>{2, 3});
    CHECK(refusal(with("max_position_embeddings", 8192.5)) ==
          "config.json: max_position_embeddings must be a whole number of 1 or more, got 8192.5");
    CHECK(refusal(with("torch_dtype", "torch.int8")).find("the type 'torch.int8' is not supported") !=
          std::string::npos);
}

TEST_CASE("config: token ids are whole numbers of 32 bits") {
    for (const json& wrong : {json(2.5), json(-1), json(2147483648), json(4294967298), json(1e30), json("2"),
                              json(true), json::array({1, 2.5}), json::array({nullptr})}) {
        CAPTURE(wrong.dump());
        for (const char* key : {"eos_token_id", "bos_token_id"})
            CHECK(refusal(with(key, wrong)) ==
                  fmt::format("config.json: {} must be a token id (a whole number from 0 to 2147483647) or a list of "
                              "them, got {}",
                              key, wrong.dump()));
    }
    const Workplace place;
    const auto model = place.copy_of_model();
    write_text(model / "generation_config.json", R"({"eos_token_id": [2, 4294967298]})");
    check_contains(error_of([&] { read_config(model); }), "generation_config.json: eos_token_id must be a token id");
}

TEST_CASE("config: sizes that no model has are refused, whatever their products wrap to") {
    const int64_t large = int64_t{1} << 30;
    json config = with("head_dim", large);
    config["num_attention_heads"] = large;
    config["num_key_value_heads"] = large;
    CHECK(refusal(config) ==
          "config.json: num_attention_heads * head_dim is 1152921504606846976; at most 16777216 are held");
    CHECK(refusal(with("hidden_size", large)) == "config.json: hidden_size is 1073741824; at most 16777216 are held");
    CHECK(refusal(with("vocab_size", 2147483647)) ==
          "config.json: vocab_size is 2147483647; at most 16777216 are held");
    CHECK(refusal(with("intermediate_size", large)) ==
          "config.json: intermediate_size is 1073741824; at most 16777216 are held");
    CHECK(refusal(with("num_hidden_layers", 2147483647)) ==
          "config.json: num_hidden_layers is 2147483647; at most 4096 are held");
    CHECK(refusal(with("max_position_embeddings", 2147483647)) ==
          "config.json: max_position_embeddings is 2147483647; at most 16777216 are held");
    json wide = with("hidden_size", 1 << 24);
    wide["intermediate_size"] = 1 << 24;
    CHECK(refusal(wide) ==
          "config.json: these sizes make a model of 3.94e+15 weights in 2 layers, beyond what is held");
}

TEST_CASE("config: more layers than the checkpoint has tensors are refused before they are counted out") {
    const Workplace place;
    TrainOptions options = place.options(2);
    options.base.model = place.copy_of_model();
    change_config(options.base.model, "num_hidden_layers", 4000);
    check_contains(error_of([&] { train(options); }),
                   "/config.json: num_hidden_layers is 4000, but the checkpoint holds only 47 tensors");
}

TEST_CASE("config: dropout of attention is not applied, and that is said") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.base.model = place.copy_of_model();
    CHECK(train(options).warnings.find("attention_dropout") == std::string::npos);
    change_config(options.base.model, "attention_dropout", 0.1);
    options.output = place / "other";
    check_contains(train(options).warnings, "config.json: attention_dropout 0.1 is not applied");
    for (const json& wrong : {json("0.1"), json(-1), json(2), json(true)})
        CHECK(refusal(with("attention_dropout", wrong)) ==
              "config.json: attention_dropout must be a number from 0 to 1, got " + wrong.dump());
    CHECK(parse(with("attention_dropout", nullptr)).attention_dropout == 0);
}

}  // namespace ggq::test
