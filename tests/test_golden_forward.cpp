// Logits, loss and every gradient of a Llama against transformers', and greedy continuations of a trained one.
#include <doctest/doctest.h>

#include <cmath>

#include "ggq/ops.h"
#include "ggq/transfer.h"
#include "models/generate/generator.h"
#include "models/model.h"
#include "models/train/engine.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/gpu.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

void check_gradients(const fs::path& folder, Backend& backend, Recompute recompute) {
    const Model model = open_bare(folder / "model");
    Update update{{forward_batch(folder)}, 1, 0, 0};
    update.label_tokens = update.micro_batches[0].label_tokens;
    EngineOptions options;
    options.weights.train_all = true;
    options.recompute = recompute;
    options.lengths = {update.micro_batches[0].length()};
    ProgramSet set(backend);
    TrainEngine engine(set, model, options);
    set.allocate([&] { load_weights(set.store(), engine.llama(), *model.weights); });
    const double loss = engine.add_gradients(update);
    const double expected = to_doubles(SafetensorsFile(folder / "forward.safetensors").at("loss"))[0];
    CHECK(std::abs(loss - expected) < 1e-6 * expected);
    const SafetensorsFile grads(folder / "grads.safetensors");
    for (const auto& [name, tensor] : grads.tensors()) {
        CAPTURE(name);
        const Buffer& gradient = engine.parameters().gradient_of(*engine.llama().weights.at(name));
        CHECK(relative_l2(to_doubles(read_f32(engine.store(), gradient)), to_doubles(tensor)) < 1e-4);
    }
}

void check_greedy(const fs::path& folder, Backend& backend) {
    const Model model = open_model(folder / "model");
    ProgramSet set(backend);
    const auto llama = declare_llama(set.store(), model, {});
    Generator generator(set, *llama, {model.config.max_position_embeddings, DType::f32});
    set.allocate([&] { load_weights(set.store(), *llama, *model.weights); });
    const nlohmann::json greedy = read_json(folder / "greedy.json");
    for (const auto& sample : greedy.at("greedy")) {
        const auto prompt = sample.at("prompt_ids").get<std::vector<int32_t>>();
        const auto expected = sample.at("output_ids").get<std::vector<int32_t>>();
        CHECK(model.tokenizer.encode(sample.at("prompt").get<std::string>()) == prompt);
        GenerationOptions options;
        options.sampler.temperature = 0;
        options.max_new_tokens = static_cast<int64_t>(expected.size() - prompt.size());
        std::vector<int32_t> all = prompt;
        const Generation answer = generator.generate(prompt, options);
        all.insert(all.end(), answer.tokens.begin(), answer.tokens.end());
        CHECK(all == expected);
    }
}

}  // namespace

TEST_CASE("logits of a Llama equal transformers'") {
    const std::vector<Backend*> backends = devices();
    for (const fs::path& folder : golden_folders({"model/config.json", "forward.safetensors", "grads.safetensors"})) {
        CAPTURE(folder);
        const Model model = open_bare(folder / "model");
        for (Backend* device : backends) {
            INFO("on ", std::string(device->name()));
            CHECK(relative_l2(logits_of(model, forward_batch(folder), *device), expected_logits(folder)) < 1e-5);
        }
    }
}

TEST_CASE("loss and every gradient of a Llama equal transformers'") {
    const std::vector<Backend*> backends = devices();
    for (const fs::path& folder : golden_folders({"model/config.json", "forward.safetensors", "grads.safetensors"}))
        for (Backend* device : backends)
            for (const Recompute recompute : {Recompute::none, Recompute::full}) {
                CAPTURE(folder);
                INFO("on ", std::string(device->name()));
                check_gradients(folder, *device, recompute);
            }
}

TEST_CASE("greedy continuations of a trained model equal transformers', token for token") {
    const std::vector<Backend*> backends = devices();
    for (const fs::path& folder : golden_folders({"model/config.json", "greedy.json"}))
        for (Backend* device : backends) {
            CAPTURE(folder);
            INFO("on ", std::string(device->name()));
            check_greedy(folder, *device);
        }
}

}  // namespace ggq::test
