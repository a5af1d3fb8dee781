// Whole training runs: what they learn, say and leave behind, in every form that base, adapter and batches can take.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "ggq/io/safetensors.h"
#include "models/lora.h"
#include "models/train/checkpoint.h"
#include "models/train/job.h"
#include "models/train/log.h"
#include "models/train/setup.h"
#include "tests/file_checks.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr const char* kQuestion = "3. Who likes Sue? ";

Strings keys_of(const nlohmann::ordered_json& object) {
    Strings keys;
    for (const auto& [key, value] : object.items()) keys.push_back(key);
    return keys;
}

// What the trainer builds for a run is what it takes.
void check_memory(const TrainOptions& options) {
    const Job job(options);
    const RunData data(job, {});
    TrainingModel on_device(*job.backend, job.model, training_model_options(job, data));
    const int64_t planned = on_device.set.memory().total();
    Store& store = on_device.set.store();
    on_device.set.allocate([&] { load_weights(store, on_device.engine.llama(), *job.model.weights); });
    fill_new_adapter(store, on_device.engine.llama(), 1);
    CHECK(job.backend->memory().bytes == planned);
    const std::vector<int64_t> order = data.batches.order(0);
    on_device.engine.train(data.batches.update(order, 0), 1e-3);
    const int64_t allocations = job.backend->memory().allocations;
    on_device.engine.train(data.batches.update(order, 1 % data.batches.n_updates()), 1e-3);
    CHECK(job.backend->memory().allocations == allocations);
    CHECK(job.backend->memory().peak_bytes == planned);
}

struct Variant {
    const char* name;
    std::function<void(TrainOptions&)> change;
};

// Learns for a few updates, and generates with what was learned.
void check_learns(const Variant& variant) {
    CAPTURE(variant.name);
    const Workplace place;
    TrainOptions options = place.options(12);
    variant.change(options);
    const Observed run = train(options);
    CHECK(run.result.last_loss < run.result.first_loss - 0.5);
    CHECK(run.result.allocations_after_first_step == 0);
    CHECK(generate(greedy(place.model, kQuestion)).text != generate(greedy(place.model, kQuestion, place.out)).text);
}

FileTensors adapter_tensors(const fs::path& folder) {
    return SafetensorsFile(folder / "adapter_model.safetensors").tensors();
}

int64_t count_modules(const fs::path& folder) { return std::ssize(read_adapter(folder).modules); }

}  // namespace

TEST_CASE("train: a run learns, and leaves all that it promises") {
    const Workplace place;
    TrainOptions options = place.options(40);
    options.optim = OptimKind::paged_adamw_8bit;
    options.save_every = 16;
    options.log_every = 8;
    const Observed run = train(options, std::nullopt, true);

    CHECK(run.result.steps == 40);
    CHECK_FALSE(run.result.interrupted);
    CHECK(run.result.last_loss < 0.5 * run.result.first_loss);
    CHECK(run.result.allocations_after_first_step == 0);
    check_contains(run.notes, "trainable params: ");
    check_contains(run.notes, "60 records as completion, 60 samples");
    check_contains(run.notes, "\n  peak ");
    check_contains(run.notes, "updates; in all: 40 updates");
    REQUIRE(run.samples.size() == 2);
    CHECK_FALSE(run.samples[0].after);
    CHECK(run.samples[1].after);
    CHECK(run.samples[0].answer != run.samples[1].answer);
    CAPTURE(run.samples[1].answer);
    CHECK(run.samples[1].answer.starts_with(run.samples[1].expected.substr(0, 5)));

    Strings expected = {"adapter_config.json", "adapter_model.safetensors", "ggq_base.json", "log.jsonl"};
    for (const char* step : {"16", "32", "40"})
        for (const char* file : {"adapter_config.json", "adapter_model.safetensors", "ggq_base.json",
                                 "optimizer.safetensors", "trainer_state.json"})
            expected.push_back(std::string("checkpoint-") + step + "/" + file);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})
        if (fs::exists(place.model / file)) expected.emplace_back(file);
    std::ranges::sort(expected);
    CHECK(files_in(place.out) == expected);
    CHECK(content_of(place.out / "adapter_model.safetensors") ==
          content_of(place.out / "checkpoint-40/adapter_model.safetensors"));
}

TEST_CASE("train: the log and the trainer's state have transformers' keys") {
    const Workplace place;
    TrainOptions options = place.options(6);
    options.log_every = 2;
    options.val_split = 0.2;
    const Observed run = train(options);
    const LogContent log = read_log(place.out / "log.jsonl");
    CHECK(keys_of(log.runs.back()) == Strings{"options", "data_hash", "base_hash"});
    REQUIRE(log.history.size() == 5);
    CHECK(keys_of(log.history[0]) == Strings{"loss", "grad_norm", "learning_rate", "epoch", "step", "num_tokens"});
    CHECK(log.history[0]["loss"].get<double>() == doctest::Approx((run.steps[0].loss + run.steps[1].loss) / 2));
    CHECK(keys_of(log.history[3]) ==
          Strings{"eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "epoch", "step"});
    CHECK(log.history[3]["eval_loss"] == run.result.eval_loss);
    Strings end_keys = keys_of(log.history[4]);
    end_keys.resize(std::min<size_t>(end_keys.size(), 7));  // the share of the ceiling only where it could be measured
    CHECK(end_keys == Strings{"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos",
                              "train_loss", "epoch", "step"});
    const nlohmann::json state = read_json(place.out / "checkpoint-6/trainer_state.json");
    for (const char* key : {"best_metric", "epoch", "global_step", "log_history", "max_steps", "num_train_epochs",
                            "num_input_tokens_seen", "train_batch_size"})
        CHECK(state.contains(key));
    CHECK(state["global_step"] == 6);
    CHECK(state["log_history"].size() == 5);
}

TEST_CASE("train: the memory that is counted equals the plan to the byte") {
    const Workplace place;
    const Variant variants[] = {
        {"nf4", [](TrainOptions&) {}},
        {"int8, 32-bit optimizer", [](TrainOptions& o) { o.base.quant = DType::int8, o.optim = OptimKind::adamw; }},
        {"bf16 adapter, no packing",
         [](TrainOptions& o) { o.lora.adapter_dtype = DType::bf16, o.packing = false, o.batch_size = 3; }},
        {"kept activations", [](TrainOptions& o) { o.recompute = Recompute::none; }},
        {"every weight", [](TrainOptions& o) { o.train = TrainKind::full; }},
    };
    for (const Variant& variant : variants) {
        CAPTURE(variant.name);
        TrainOptions options = place.options(2);
        variant.change(options);
        check_memory(options);
    }
}

TEST_CASE("train: a run's counted peak is the one that was printed before") {
    const Workplace place;
    const Observed run = train(place.options(2));
    const size_t line = run.notes.find("\n  peak ");
    REQUIRE(line != std::string::npos);
    const double mebibytes = std::stod(run.notes.substr(line + 8));
    CHECK(std::abs(static_cast<double>(run.steps[1].peak_bytes) / (1 << 20) - mebibytes) <= 0.0051);
}

TEST_CASE("train: every form of the base learns, and its adapter works on it") {
    const Variant variants[] = {
        {"fp4", [](TrainOptions& o) { o.base.quant = DType::fp4; }},
        {"int8", [](TrainOptions& o) { o.base.quant = DType::int8; }},
        {"none", [](TrainOptions& o) { o.base.quant = std::nullopt; }},
        {"nf4, single scales of 256",
         [](TrainOptions& o) {
             o.base.quant_spec = {256, false};
         }},
        {"only adapted layers quantized",
         [](TrainOptions& o) { o.base.quant_only_adapted = true, o.lora.targets = "q_proj,down_proj"; }},
        {"lifted to f32", [](TrainOptions& o) { o.base.lift_f32 = true, o.base.compute_dtype = DType::f32; }},
    };
    for (const Variant& variant : variants) check_learns(variant);
}

TEST_CASE("train: every form of the adapter and the batches learns") {
    const Variant variants[] = {
        {"bf16 adapter", [](TrainOptions& o) { o.lora.adapter_dtype = DType::bf16; }},
        {"rsLoRA, dropout", [](TrainOptions& o) { o.lora.rslora = true, o.lora.dropout = 0.2; }},
        {"regular expression", [](TrainOptions& o) { o.lora.targets = R"(.*\.(q|v|up)_proj)"; }},
        {"no packing", [](TrainOptions& o) { o.packing = false, o.batch_size = 8; }},
        {"loss on the prompt", [](TrainOptions& o) { o.train_on_prompt = true; }},
        {"32-bit optimizer, cosine",
         [](TrainOptions& o) { o.optim = OptimKind::adamw, o.lr_scheduler = LrScheduler::cosine; }},
        {"global batch", [](TrainOptions& o) { o.batch_size = 2, o.global_batch_size = 4, o.weight_decay = 0.01; }},
    };
    for (const Variant& variant : variants) check_learns(variant);
}

TEST_CASE("train: the adapter holds what targets, layers, rank and dtype say") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.overwrite = true;
    options.lora.targets = "q_proj,v_proj";
    options.lora.layers = "2";
    options.lora.adapter_dtype = DType::bf16;
    const Observed run = train(options);
    CHECK(count_modules(place.out) == 4);  // two of the last two layers
    for (const auto& [name, tensor] : adapter_tensors(place.out)) {
        CAPTURE(name);
        CHECK(tensor.dtype == DType::bf16);
        CHECK(tensor.shape[name.ends_with("lora_A.weight") ? 0 : 1] == 4);
    }
    check_contains(run.warnings, "linear layers are quantized but have no adapter");
    options.lora.targets = R"(.*\.1\..*_proj)";
    options.lora.layers = "";
    train(options);
    CHECK(count_modules(place.out) == 7);
    CHECK(read_adapter(place.out).config.target_pattern == options.lora.targets);
}

TEST_CASE("train: a compute type that the CPU lacks is said to run as f32") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.base.compute_dtype = DType::bf16;
    check_contains(train(options).notes, "`compute_dtype` bf16 runs as f32");
}

TEST_CASE("train: samples that are too long are dropped, cut or split, and counted") {
    const Workplace place;
    std::string longer;
    for (int i = 0; i < 40; ++i) longer += "Tom likes Lily. ";
    write_text(place.data, sample_lines(20) + R"({"prompt": "Who? ", "completion": ")" + longer + "\"}\n");
    const auto notes = [&](OnLong on_long) {
        TrainOptions options = place.options(1);
        options.overwrite = true;
        options.on_long = on_long;
        return train(options).notes;
    };
    check_contains(notes(OnLong::drop), "20 samples (0 for validation)");
    check_contains(notes(OnLong::drop), "1 dropped (4.8 %), 0 cut");
    check_contains(
        notes(OnLong::cut_left),
        "0 dropped (0.0 %), 1 cut; without a label: 0; double BOS: 0; missing EOS: 0; bytes without a token: 0");
    check_contains(notes(OnLong::cut_right),
                   "1 cut; without a label: 0; double BOS: 0; missing EOS: 1; bytes without a token: 0");
    const std::string split = notes(OnLong::split);
    check_contains(split, "1 cut;");
    CHECK(split.find("20 samples (0") == std::string::npos);
}

TEST_CASE("train: validation stops a run that gains nothing, and is logged once an update") {
    const Workplace place;
    TrainOptions options = place.options(30);
    options.val_split = 0.2;
    options.eval_every = 1;
    options.patience = 2;
    options.lr = 1e-12;  // learns nothing that float32 can tell
    options.lora.adapter_dtype = DType::f32;
    const Observed run = train(options);
    CHECK(run.result.stopped_early);
    CHECK(run.result.steps < 30);
    CHECK(std::ssize(run.evaluations) == run.result.steps);
    CHECK(fs::exists(place.out / "adapter_model.safetensors"));
    CHECK(fs::exists(place.out / ("checkpoint-" + std::to_string(run.result.steps))));
    options.resume = "";
    const Observed again = train(options);
    CHECK(again.result.stopped_early);
    CHECK(again.steps.empty());
    CHECK(again.evaluations.empty());
    CHECK(again.result.eval_loss == run.result.eval_loss);
}

TEST_CASE("train: validation data in a file of its own are measured and never trained on") {
    const Workplace place;
    write_text(place / "val.jsonl", sample_lines(10, 60));
    TrainOptions options = place.options(20);
    options.val_data = place / "val.jsonl";
    options.eval_every = 5;
    options.limit = 40;
    const Observed run = train(options);
    check_contains(run.notes, "40 samples (10 for validation)");
    REQUIRE(run.evaluations.size() == 4);
    CHECK(run.evaluations[3].loss < run.evaluations[0].loss);
    CHECK(run.result.eval_loss == run.evaluations[3].loss);
}

TEST_CASE("train: only the newest checkpoints are kept, and those of an overwritten run go") {
    const Workplace place;
    TrainOptions options = place.options(6);
    options.save_every = 1;
    options.keep_last = 2;
    train(options);
    CHECK(numbers_in(place.out) == std::vector<int64_t>{5, 6});
    options.overwrite = true;
    options.max_steps = 3;
    train(options);
    CHECK(numbers_in(place.out) == std::vector<int64_t>{2, 3});
}

TEST_CASE("train: label tokens of an update are those of the training samples alone") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.val_split = 0.5;
    const Observed run = train(options);
    const TrainingData data = load_training_data(options, open_model(place.model));
    const Batches batches(data.train.train, training_batches(options));
    double labels = 0;
    for (const Sample& sample : data.train.train) labels += static_cast<double>(sample.n_label_tokens());
    check_contains(run.notes, fmt::format(" samples, {:.0f} label tokens; an epoch: ",
                                          labels / static_cast<double>(batches.n_updates())));
}

TEST_CASE("train: a text field that is named makes the data plain text, whatever else it holds") {
    const Workplace place;
    std::string lines;
    for (int n = 0; n < 20; ++n)
        lines += R"({"prompt": "Who? ", "completion": "Tom.", "text": "Tom likes Lily."})"
                 "\n";
    write_text(place.data, lines);
    TrainOptions options = place.options(1);
    options.overwrite = true;
    check_contains(train(options).notes, "20 records as completion");
    options.text_field = "text";
    check_contains(train(options).notes, "20 records as text");
}

TEST_CASE("train: an interrupt during an evaluation ends it, and it is made up for later") {
    const Workplace place;
    TrainOptions options = place.options(4);
    options.val_split = 0.2;
    options.eval_every = 2;
    const Observed first = train(options, 2);
    CHECK(first.result.interrupted);
    CHECK(first.evaluations.empty());
    options.resume = "";
    const Observed second = train(options);
    REQUIRE(second.evaluations.size() == 2);
    CHECK(second.evaluations[0].step == 2);
    CHECK(second.evaluations[1].step == 4);
}

TEST_CASE("train: an adapter that would not be trained ends the run after the first backward") {
    const Workplace place;
    TrainOptions options = place.options(2);
    options.base.model = place.copy_of_model();
    const fs::path weights = fs::path(options.base.model) / "model.safetensors";
    {
        const SafetensorsFile file(weights);
        FileTensors tensors = file.tensors();
        FileTensor& o_proj = tensors.at("model.layers.0.self_attn.o_proj.weight");
        const std::vector<std::byte> zeros(static_cast<size_t>(o_proj.n_bytes()));
        o_proj.data = zeros.data();
        write_safetensors(place / "zeroed", tensors);
    }
    fs::rename(place / "zeroed", weights);
    CHECK(error_of([&] { train(options); }) ==
          "model.layers.0.self_attn.q_proj.lora_B.weight: its gradient after the first backward is zero, so it would "
          "not be trained");
}

TEST_CASE("train: a first update that leaves the adapter as it was ends the run") {
    const Workplace place;
    TrainOptions options = place.options(2);
    options.lr = 1e-46;  // below the least number of float32
    options.lora.adapter_dtype = DType::bf16;
    CHECK(error_of([&] { train(options); }) ==
          "model.layers.0.self_attn.q_proj.lora_B.weight: the first update did not change it; is `lr` too small for "
          "bf16?");
}

TEST_CASE("train: a plan is printed and nothing written") {
    const Workplace place;
    TrainOptions options = place.options(6);
    options.plan = true;
    const Observed run = train(options);
    check_contains(run.printed, "\n  peak ");
    CHECK(run.steps.empty());
    CHECK_FALSE(fs::exists(place.out));
}

TEST_CASE("train: every weight, then an adapter on the result") {
    const Workplace place;
    TrainOptions options = place.options(15);
    options.train = TrainKind::full;
    options.lr = 2e-3;
    options.base.model = place.copy_of_model();
    write_text(fs::path(options.base.model) / "generation_config.json", R"({"eos_token_id": [2, 7]})");
    const Observed run = train(options);
    for (const fs::path& saved : {place.out, place.out / "checkpoint-15"})
        CHECK(read_config(saved).eos_token_ids == std::vector<int32_t>{2, 7});
    CHECK(run.result.last_loss < run.result.first_loss - 0.5);
    CHECK(run.result.allocations_after_first_step == 0);
    check_contains(run.notes, "the base is not quantized");
    check_contains(run.notes, "trainable%: 100.0000");
    CHECK(fs::exists(place.out / "model.safetensors"));
    CHECK_FALSE(fs::exists(place.out / "adapter_model.safetensors"));
    CHECK(generate(greedy(place.model, kQuestion)).text != generate(greedy(place.out, kQuestion)).text);

    TrainOptions next = place.options(3);
    next.base.model = place.out;
    next.output = place / "adapter";
    const Observed further = train(next);
    CHECK(further.result.first_loss < run.result.first_loss - 0.5);
    CHECK(generate(greedy(place.out, kQuestion, place / "adapter")).warnings == "");
}

TEST_CASE("train: a half-precision model is trained from scratch, saved in its own type and goes on") {
    const Workplace place;
    nlohmann::json config = read_json(place.model / "config.json");
    config["torch_dtype"] = "bfloat16";
    config["num_hidden_layers"] = 1;
    write_text(place / "empty/config.json", config.dump());
    fs::copy_file(place.model / "tokenizer.json", place / "empty/tokenizer.json");
    fs::copy_file(place.model / "tokenizer_config.json", place / "empty/tokenizer_config.json");
    TrainOptions options = place.options(20);
    options.base.model = place / "empty";
    options.train = TrainKind::full;
    options.from_scratch = true;
    options.lr = 1e-2;
    options.save_every = 5;
    const Observed run = train(options);
    CHECK(run.result.first_loss == doctest::Approx(std::log(512)).epsilon(0.02));
    CHECK(run.result.last_loss < run.result.first_loss - 1);
    CHECK(run.result.allocations_after_first_step == 0);
    const SafetensorsFile saved(place.out / "model.safetensors");
    for (const auto& [name, tensor] : saved.tensors()) CHECK(tensor.dtype == DType::bf16);
    CHECK(generate(greedy(place.out, kQuestion)).result.new_tokens > 0);
    TrainOptions next = place.options(1);
    next.base.model = place.out;
    next.output = place / "more";
    CHECK(train(next).result.first_loss < run.result.last_loss + 1);
}

}  // namespace ggq::test
