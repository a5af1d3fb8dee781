// Logits, loss and every gradient of a Llama against transformers', and greedy continuations of a trained one.
#include <doctest/doctest.h>

#include <cmath>

#include "ggq/ops.h"
#include "ggq/transfer.h"
#include "models/base_model.h"
#include "models/generate/generator.h"
#include "models/train/engine.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/gpu.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

// A model without tokenizer, all weights trained.
struct Opened {
    LlamaConfig config;
    ShardedSafetensors files;
    explicit Opened(const fs::path& folder) : config(read_config(folder)), files(folder) {}
};

MicroBatch forward_batch(const fs::path& folder) {
    const SafetensorsFile file(folder / "forward.safetensors");
    return lay_out(file.at("input_ids"), file.at("labels"), file.at("attention_mask"));
}

// Logits of the real tokens in the order of the batch.
std::vector<double> expected_logits(const fs::path& folder) {
    const SafetensorsFile file(folder / "forward.safetensors");
    const FileTensor &logits = file.at("logits"), &mask = file.at("attention_mask");
    const std::vector<double> all = to_doubles(logits);
    const auto vocabulary = static_cast<size_t>(logits.shape[2]);
    std::vector<double> kept;
    for (int64_t t = 0; t < mask.shape.n_elems(); ++t) {
        if (static_cast<const int64_t*>(mask.data)[t] == 0) continue;
        const auto first = all.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(t) * vocabulary);
        kept.insert(kept.end(), first, first + static_cast<std::ptrdiff_t>(vocabulary));
    }
    return kept;
}

std::vector<double> logits_of(const Opened& model, const MicroBatch& batch, Backend& backend) {
    Store store(backend);
    const auto llama = declare_llama(store, model.config, {}, {}, {});
    const int64_t n = batch.length();
    Buffer& ids = store.declare("ids", Kind::input, {DType::i32, {n}, {}});
    Buffer& positions = store.declare("positions", Kind::input, {DType::i32, {n}, {}});
    Buffer& spans = store.declare("spans", Kind::input, {DType::i32, {n, 2}, {}});
    Buffer& rng = store.declare("rng", Kind::input, {DType::i64, {2}, {}});
    store.allocate();
    auto graph = std::make_shared<Graph>();
    const LlamaInputs in{graph->bind(ids), graph->bind(positions), graph->bind(spans), graph->bind(rng)};
    const Tensor logits = llama_logits(*graph, *llama, llama_hidden(*graph, *llama, in, {}));
    graph->mark_output(logits);
    Program program(graph, plan(*graph, backend));
    const Arena arena(backend, program.plan().arena_bytes);
    program.bind(backend, arena);
    load_weights(store, weight_rows(model.config), llama->weights, model.files);
    write_frequencies(store, *llama);
    store.write(ids, batch.ids.data());
    store.write(positions, batch.positions.data());
    store.write(spans, batch.spans.data());
    program.run();
    std::vector<float> values(static_cast<size_t>(logits.shape().n_elems()));
    program.read(logits, values.data());
    return to_doubles(values);
}

void check_gradients(const fs::path& folder, Backend& backend, Recompute recompute) {
    const Opened model(folder / "model");
    Update update{{forward_batch(folder)}, 1, 0, 0};
    update.label_tokens = update.micro_batches[0].label_tokens;
    EngineOptions options;
    options.config = model.config;
    options.weights.train_all = true;
    options.recompute = recompute;
    options.train_lengths = {update.micro_batches[0].length()};
    TrainEngine engine(backend, options);
    engine.allocate();
    load_weights(engine.store(), weight_rows(model.config), engine.llama().weights, model.files);
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
    const BaseModel base = open_base(folder / "model");
    Store store(backend);
    const auto llama = declare_llama(store, base.config, {}, base.dtypes(), {});
    Generator generator(backend, store, *llama, {base.config.max_position_embeddings, DType::f32});
    store.allocate();
    const Arena arena(backend, generator.arena_bytes());
    generator.bind(arena);
    write_frequencies(store, *llama);
    fill_weights(store, *llama, base, 0);
    generator.prepare();
    const nlohmann::json greedy = read_json(folder / "greedy.json");
    for (const auto& sample : greedy.at("greedy")) {
        const auto prompt = sample.at("prompt_ids").get<std::vector<int32_t>>();
        const auto expected = sample.at("output_ids").get<std::vector<int32_t>>();
        CHECK(base.tokenizer.encode(sample.at("prompt").get<std::string>()) == prompt);
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
        const Opened model(folder / "model");
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
