// Training runs of PEFT and bitsandbytes, step by step: loss, gradient norm, learning rate, first gradients and the
// final adapter; and PEFT's merge of that adapter.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "ggq/ops.h"
#include "ggq/transfer.h"
#include "models/adapter_files.h"
#include "models/lora.h"
#include "models/train/engine.h"
#include "models/train/schedule.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/gpu.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

// Bars of golden/README.md, relative.
struct Bars {
    double loss, norm, adapter;
    double gradient = 1e-4, mean_loss = 0;
};

bool in_bf16(const nlohmann::json& about) { return about.at("compute_dtype") == "torch.bfloat16"; }

Bars bars_of(const nlohmann::json& about, bool quantized, bool on_gpu) {
    if (in_bf16(about) && on_gpu) return {2e-2, 1e-1, 6e-2, 1e-1, 5e-3};
    if (in_bf16(about)) return {3e-2, 1e-1, 6e-2, 1e-1, 3e-2};  // run in f32
    if (about.at("optimizer") == "adamw8bit") return {1.5e-3, 5e-3, 2e-2};
    return quantized ? Bars{1e-4, 3e-4, 1e-3} : Bars{5e-5, 2e-4, 1e-4};
}

EngineOptions engine_options(const nlohmann::json& about, const LoraConfig& lora, const std::vector<Update>& updates) {
    EngineOptions options;
    options.weights.lora = lora;
    if (about.at("base").get<std::string>().find("NF4") != std::string::npos) options.weights.quant = DType::nf4;
    options.optimizer.eight_bit = about.at("optimizer") == "adamw8bit";
    options.optimizer.min_8bit_size = 0;
    options.optimizer.adamw.weight_decay = 0.01f;
    std::set<int64_t> lengths;
    for (const Update& u : updates)
        for (const MicroBatch& b : u.micro_batches) lengths.insert(b.length());
    options.lengths.assign(lengths.begin(), lengths.end());
    return options;
}

std::vector<double> values_of(TrainEngine& engine, const Buffer& b) { return to_doubles(read_f32(engine.store(), b)); }

void check_first_gradients(TrainEngine& engine, const fs::path& folder, double bar) {
    const SafetensorsFile grads(folder / "grads_step0.safetensors");
    for (const Linear* l : engine.llama().adapted) {
        CAPTURE(l->module);
        const std::string prefix = "base_model.model." + l->module + ".lora_";
        const Buffer& a = engine.parameters().gradient_of(*l->a);
        const Buffer& b = engine.parameters().gradient_of(*l->b);
        CHECK(relative_l2(values_of(engine, a), to_doubles(grads.at(prefix + "A.weight"))) < bar);
        CHECK(relative_l2(values_of(engine, b), to_doubles(grads.at(prefix + "B.weight"))) < bar);
    }
}

void check_adapter_values(TrainEngine& engine, const Adapter& expected, double bar) {
    for (const Linear* l : engine.llama().adapted) {
        CAPTURE(l->module);
        CHECK(relative_l2(values_of(engine, *l->a), to_doubles(expected.modules.at(l->module).a)) < bar);
        CHECK(relative_l2(values_of(engine, *l->b), to_doubles(expected.modules.at(l->module).b)) < bar);
    }
}

void check_run(const fs::path& folder, Backend& backend) {
    const nlohmann::json about = read_json(folder / "about.json"), curve = read_json(folder / "curve.json");
    const std::vector<Update> updates = golden_updates(folder);
    const Adapter initial = read_adapter(folder / "adapter_init");
    const bool on_gpu = !backend.reads_host_memory();
    EngineOptions options = engine_options(about, initial.config, updates);
    if (on_gpu && in_bf16(about)) options.weights.compute_dtype = DType::bf16;
    const Bars bars = bars_of(about, options.weights.quant.has_value(), on_gpu);
    const Model model = open_bare(folder / "model");
    ProgramSet set(backend);
    TrainEngine engine(set, model, options);
    set.allocate([&] { load_weights(set.store(), engine.llama(), *model.weights); });
    check_adapter(engine.llama(), initial, folder.string());
    load_adapter(engine.store(), engine.llama(), initial);
    const int64_t n_steps = about.at("steps");
    const LrSchedule rates{LrScheduler::linear, about.at("lr"), 0, 5, n_steps};
    double total_off = 0;
    for (int64_t step = 0; step < n_steps; ++step) {
        CAPTURE(step);
        const auto i = static_cast<size_t>(step);
        const double rate = rates.at(step), loss = engine.add_gradients(updates[i % updates.size()]);
        if (step == 0) check_first_gradients(engine, folder, bars.gradient);
        const double norm = engine.apply(rate).grad_norm;
        const double expected_loss = curve.at("loss")[i], expected_norm = curve.at("grad_norm")[i];
        CHECK(std::abs(loss - expected_loss) <= bars.loss * expected_loss);
        CHECK(std::abs(norm - expected_norm) <= bars.norm * expected_norm);
        CHECK(std::abs(rate - curve.at("lr")[i].get<double>()) <= 1e-9);
        total_off += std::abs(loss - expected_loss) / expected_loss;
    }
    CHECK(total_off / static_cast<double>(n_steps) <= (bars.mean_loss > 0 ? bars.mean_loss : bars.loss));
    check_adapter_values(engine, read_adapter(folder / "adapter_final"), bars.adapter);
}

// w + s b a, in float32.
std::vector<double> merged(Backend& backend, const FileTensor& w, const LoraTensors& lora, double scaling) {
    ProgramSet set(backend);
    Store& store = set.store();
    Buffer& weight = store.declare("w", Kind::constant, {DType::f32, w.shape, {}});
    Buffer& a = store.declare("a", Kind::constant, {DType::f32, lora.a.shape, {}});
    Buffer& b = store.declare("b", Kind::constant, {DType::f32, lora.b.shape, {}});
    auto graph = std::make_shared<Graph>();
    const Tensor update = matmul(graph->bind(b), transpose(graph->bind(a), 0, 1));
    const Tensor sum = add(graph->bind(weight), scale(update, scaling));
    graph->mark_output(sum);
    Program& program = set.add("merge", graph);
    set.allocate([&] {
        write_converted(store, weight, w.dtype, w.data);
        write_converted(store, a, lora.a.dtype, lora.a.data);
        write_converted(store, b, lora.b.dtype, lora.b.data);
    });
    program.run();
    std::vector<float> values(static_cast<size_t>(w.shape.n_elems()));
    program.read(sum, values.data());
    return to_doubles(values);
}

}  // namespace

TEST_CASE("training runs equal PEFT's") {
    const std::vector<Backend*> backends = devices();
    for (const fs::path& folder :
         golden_folders({"model/config.json", "adapter_init", "batches.safetensors", "curve.json"})) {
        for (Backend* device : backends) {
            CAPTURE(folder);
            INFO("on ", std::string(device->name()));
            check_run(folder, *device);
        }
        if (in_bf16(read_json(folder / "about.json")) && backends.size() == 1)
            skipped("bf16 arithmetic of " + folder.filename().string() + " (run in f32 with the wider bars)");
    }
}

TEST_CASE("an adapter merged into its base equals PEFT's merge") {
    const auto backend = make_cpu_backend();
    for (const fs::path& folder : golden_folders({"model/config.json", "adapter_final", "merged_layers.safetensors"})) {
        CAPTURE(folder);
        const ShardedSafetensors base(folder / "model");
        const Adapter adapter = read_adapter(folder / "adapter_final");
        const SafetensorsFile expected(folder / "merged_layers.safetensors");
        for (const auto& [name, tensor] : expected.tensors()) {
            CAPTURE(name);
            const std::string module = name.substr(0, name.rfind(".weight"));
            const auto found = adapter.modules.find(module);
            std::vector<std::byte> bytes;
            const FileTensor weight = base.read(name, bytes);
            const std::vector<double> ours =
                found == adapter.modules.end()
                    ? to_doubles(weight)
                    : merged(*backend, weight, found->second, lora_scale(module, adapter.config));
            CHECK(relative_l2(ours, to_doubles(tensor)) < 1e-6);
        }
    }
}

}  // namespace ggq::test
