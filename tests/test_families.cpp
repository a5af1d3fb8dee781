// The families of models against transformers: logits, losses, every gradient, gradients of adapters, and text that is
// generated over a cache.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <optional>

#include "ggq/io/safetensors.h"
#include "ggq/transfer.h"
#include "models/generate/generator.h"
#include "models/lora.h"
#include "models/train/engine.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/gpu.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<fs::path> family_folders() {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(source_dir() / "tests/fixtures/families"))
        folders.push_back(entry.path());
    std::ranges::sort(folders);
    REQUIRE(folders.size() >= 5);
    return folders;
}

Update golden_update(const fs::path& folder) {
    Update update{{forward_batch(folder)}, 1, 0, 0};
    update.label_tokens = update.micro_batches[0].label_tokens;
    return update;
}

double golden_loss(const fs::path& folder) {
    return to_doubles(SafetensorsFile(folder / "forward.safetensors").at("loss"))[0];
}

// A model of a folder with its gradients after one micro-batch.
struct Trained {
    Trained(const fs::path& folder, Backend& backend, const WeightChoice& weights, Recompute recompute)
        : model(open_bare(folder / "model")), set(backend) {
        const Update update = golden_update(folder);
        EngineOptions options;
        options.weights = weights;
        options.recompute = recompute;
        options.lengths = {update.micro_batches[0].length()};
        engine.emplace(set, model, options);
        set.allocate([&] {
            load_weights(set.store(), engine->llama(), *model.weights);
            fill_new_adapter(set.store(), engine->llama(), 3);
        });
        loss = engine->add_gradients(update);
    }

    std::vector<double> values(const Buffer& buffer) { return to_doubles(read_f32(set.store(), buffer)); }
    std::vector<double> gradient(const Buffer& parameter) {
        return values(engine->parameters().gradient_of(parameter));
    }

    Model model;
    ProgramSet set;
    std::optional<TrainEngine> engine;
    double loss = 0;
};

// factor * x[m,k] a[r,k]^T
std::vector<double> product(const std::vector<double>& x, const std::vector<double>& a, size_t k, double factor) {
    std::vector<double> y;
    for (size_t row = 0; row < x.size(); row += k)
        for (size_t r = 0; r < a.size(); r += k) {
            double sum = 0;
            for (size_t i = 0; i < k; ++i) sum += x[row + i] * a[r + i];
            y.push_back(factor * sum);
        }
    return y;
}

WeightChoice adapters() {
    WeightChoice choice;
    LoraConfig lora;
    lora.r = 3;
    lora.alpha = 6;
    lora.target_pattern = std::string(kAllLinear);
    choice.lora = lora;
    return choice;
}

// The likeliest next token after each of `ids`, each text whole and without a cache.
std::vector<int32_t> likeliest(const Model& model, const std::vector<int32_t>& ids, Backend& backend) {
    MicroBatch batch = blank_batch(std::ssize(ids));
    batch.ids = ids;
    for (size_t t = 0; t < ids.size(); ++t) {
        batch.positions[t] = static_cast<int32_t>(t);
        batch.spans[2 * t] = 0;
    }
    const std::vector<double> logits = logits_of(model, batch, backend);
    std::vector<int32_t> next;
    const auto vocabulary = static_cast<std::ptrdiff_t>(model.config.vocab_size);
    for (auto row = logits.begin(); row != logits.end(); row += vocabulary)
        next.push_back(static_cast<int32_t>(std::max_element(row, row + vocabulary) - row));
    return next;
}

void check_generation(const fs::path& folder, Backend& backend, const WeightChoice& choice) {
    const Model model = open_bare(folder / "model");
    ProgramSet set(backend);
    const auto llama = declare_llama(set.store(), model, choice);
    Generator generator(set, *llama, {.context = 40});
    set.allocate([&] {
        load_weights(set.store(), *llama, *model.weights);
        fill_new_adapter(set.store(), *llama, 3);  // with B of zeros: it changes nothing
    });
    GenerationOptions options;
    options.sampler.temperature = 0;
    options.max_new_tokens = 20;
    std::vector<int32_t> all = {1, 7, 30, 12, 9, 25, 33};
    const size_t n_prompt = all.size();
    const std::vector<int32_t> answer = generator.generate(all, options).tokens;
    CHECK(answer.size() == 20);
    all.insert(all.end(), answer.begin(), answer.end());
    const std::vector<int32_t> next = likeliest(model, all, backend);
    CHECK(std::equal(answer.begin(), answer.end(), next.begin() + static_cast<std::ptrdiff_t>(n_prompt) - 1));
}

json config_of(const char* architecture, const char* type) {
    return {{"architectures", {architecture}},
            {"model_type", type},
            {"vocab_size", 320},
            {"hidden_size", 64},
            {"intermediate_size", 160},
            {"num_hidden_layers", 3},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2}};
}

LlamaConfig parse(json config, const json& more = json::object()) {
    config.update(more);
    return parse_config(config.dump(), "config.json");
}

}  // namespace

TEST_CASE("families: logits equal transformers'") {
    for (Backend* device : devices())
        for (const fs::path& folder : family_folders()) {
            CAPTURE(folder);
            INFO("on ", std::string(device->name()));
            const Model model = open_bare(folder / "model");
            CHECK(relative_l2(logits_of(model, forward_batch(folder), *device), expected_logits(folder)) < 1e-5);
        }
}

TEST_CASE("families: loss and every gradient equal transformers'") {
    WeightChoice everything;
    everything.train_all = true;
    for (Backend* device : devices())
        for (const fs::path& folder : family_folders())
            for (const Recompute recompute : {Recompute::none, Recompute::full}) {
                CAPTURE(folder);
                INFO("on ", std::string(device->name()));
                Trained trained(folder, *device, everything, recompute);
                CHECK(std::abs(trained.loss - golden_loss(folder)) < 1e-6 * golden_loss(folder));
                const SafetensorsFile grads(folder / "grads.safetensors");
                CHECK(grads.tensors().size() == weight_rows(trained.model.config).size());
                for (const auto& [name, tensor] : grads.tensors()) {
                    CAPTURE(name);
                    const Buffer& weight = *trained.engine->llama().weights.at(name);
                    // Of a bias of k nothing but rounding: it moves all scores of a query alike.
                    const std::vector<double> expected = to_doubles(tensor), got = trained.gradient(weight);
                    const double size =
                        std::sqrt(std::inner_product(expected.begin(), expected.end(), expected.begin(), 0.0));
                    if (size > 1e-6) CHECK(relative_l2(got, expected) < 1e-4);
                    else
                        for (const double g : got) CHECK(std::abs(g) < 1e-6);
                }
            }
}

// With B zero dB = scaling dW A^T, where dW is the gradient of the weight itself.
TEST_CASE("families: gradients of adapters over frozen weights and biases") {
    for (Backend* device : devices())
        for (const fs::path& folder : family_folders()) {
            CAPTURE(folder);
            INFO("on ", std::string(device->name()));
            Trained trained(folder, *device, adapters(), Recompute::full);
            CHECK(std::abs(trained.loss - golden_loss(folder)) < 1e-6 * golden_loss(folder));
            const SafetensorsFile grads(folder / "grads.safetensors");
            CHECK(trained.engine->llama().adapted.size() == 14);
            for (const Linear* l : trained.engine->llama().adapted) {
                CAPTURE(l->module);
                const auto k = static_cast<size_t>(l->a->type.shape[1]);
                const std::vector<double> expected =
                    product(to_doubles(grads.at(l->module + ".weight")), trained.values(*l->a), k, l->scaling);
                CHECK(relative_l2(trained.gradient(*l->b), expected) < 1e-4);
            }
        }
}

TEST_CASE("families: text over a cache is what whole texts give, with adapters and without") {
    for (Backend* device : devices())
        for (const fs::path& folder : family_folders())
            for (const WeightChoice& choice : {WeightChoice(), adapters()}) {
                CAPTURE(folder);
                INFO("on ", std::string(device->name()));
                check_generation(folder, *device, choice);
            }
}

TEST_CASE("families: config.json by the rows of the table") {
    const json mistral = config_of("MistralForCausalLM", "mistral"), qwen2 = config_of("Qwen2ForCausalLM", "qwen2"),
               qwen3 = config_of("Qwen3ForCausalLM", "qwen3"), llama = config_of("LlamaForCausalLM", "llama");
    CHECK(parse(mistral).sliding_window == 4096);
    CHECK(parse(mistral).window_layers == std::vector<bool>{true, true, true});
    CHECK(parse(mistral, {{"sliding_window", nullptr}}).sliding_window == 0);
    CHECK(parse(qwen2).qkv_bias);
    CHECK_FALSE(parse(qwen2).o_bias);
    CHECK(parse(qwen2, {{"sliding_window", 9}}).sliding_window == 0);
    const json upper = {{"use_sliding_window", true}, {"sliding_window", 9}, {"max_window_layers", 2}};
    CHECK(parse(qwen2, upper).window_layers == std::vector<bool>{false, false, true});
    json listed = upper;
    listed["layer_types"] = {"sliding_attention", "full_attention", "full_attention"};
    CHECK(parse(qwen2, listed).window_layers == std::vector<bool>{true, false, false});
    const json yarn = {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}, {"max_position_embeddings", 32768}};
    CHECK(parse(qwen2, yarn).max_position_embeddings == 131072);
    CHECK(std::abs(parse(qwen2, yarn).rope.attention_factor - 1.1386294361) < 1e-9);
    CHECK(parse(qwen3).qk_norm);
    CHECK(parse(qwen3).head_dim == 128);
    CHECK_FALSE(parse(qwen3).qkv_bias);
    CHECK(parse(qwen3, {{"attention_bias", true}}).o_bias);
    CHECK(parse(llama, {{"attention_bias", true}}).qkv_bias);
    CHECK(function_text(parse(llama)).find("bias") == std::string::npos);
    CHECK(function_text(parse(qwen2, upper)) != function_text(parse(qwen2)));
    CHECK(parse({{"vocab_size", 320},
                 {"hidden_size", 64},
                 {"intermediate_size", 160},
                 {"num_hidden_layers", 3},
                 {"num_attention_heads", 4},
                 {"model_type", "qwen3"}})
              .family == Family::qwen3);

    const auto refusal = [](const json& config, const json& more) { return error_of([&] { parse(config, more); }); };
    CHECK(refusal(llama, {{"architectures", {"GemmaForCausalLM"}}}) ==
          "config.json: the architecture [\"GemmaForCausalLM\"] is not known; known are 'LlamaForCausalLM', "
          "'MistralForCausalLM', 'Qwen2ForCausalLM', 'Qwen3ForCausalLM'");
    CHECK(refusal(llama, {{"model_type", "qwen2"}}) ==
          "config.json: the architecture [\"LlamaForCausalLM\"] and the model_type 'qwen2' do not go together");
    CHECK(refusal(llama, {{"mlp_bias", true}}).find("mlp_bias = true is not supported") != std::string::npos);
    listed["layer_types"] = {"full_attention"};
    CHECK(refusal(qwen2, listed).find("layer_types must be a list with an entry for each layer") != std::string::npos);
    listed["layer_types"] = {"full_attention", "full_attention", "chunked_attention"};
    CHECK(refusal(qwen2, listed).find("layer_types must be a list of full_attention") != std::string::npos);
}

TEST_CASE("families: a configuration that is written is read as it was") {
    for (const fs::path& folder : family_folders()) {
        CAPTURE(folder);
        LlamaConfig config = read_config(folder / "model");
        const std::string function = function_text(config);
        config.source.clear();
        CHECK(function_text(parse_config(config_text(config), "config.json")) == function);
    }
}

}  // namespace ggq::test
