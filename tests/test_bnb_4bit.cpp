// Bases that bitsandbytes stored in 4 bits: codes and scales as they are in the file, what is computed with them, and
// runs on top of them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "ggq/io/sharded_safetensors.h"
#include "ggq/transfer.h"
#include "kernels/code_maps.h"
#include "models/base_record.h"
#include "models/llama.h"
#include "models/train/run_plan.h"
#include "tests/bnb_folder.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A model's weights in memory.
struct Loaded {
    explicit Loaded(const Model& model, const WeightChoice& choice = {})
        : backend(make_cpu_backend(1)), store(*backend), llama(declare_llama(store, model, choice)) {
        store.allocate();
        load_weights(store, *llama, *model.weights);
    }

    const Buffer& at(const std::string& name) const { return *llama->weights.at(name); }

    std::unique_ptr<Backend> backend;
    Store store;
    std::unique_ptr<Llama> llama;
};

WeightChoice choice_of(const QuantForm& form) {
    WeightChoice choice;
    choice.quant = form.dtype;
    choice.quant_spec = form.spec;
    return choice;
}

bool same_bytes(const void* one, const void* other, int64_t n_bytes) {
    return std::memcmp(one, other, static_cast<size_t>(n_bytes)) == 0;
}

// Parts, for what lies between them is of no account.
bool same_weight(const Buffer& a, const Buffer& b) {
    if (!(a.type == b.type)) return false;
    const auto same = [&](int64_t at, int64_t n_bytes) {
        return same_bytes(static_cast<std::byte*>(a.data) + at, static_cast<std::byte*>(b.data) + at, n_bytes);
    };
    if (!info(a.type.dtype).quantized) return same(0, a.bytes());
    const QuantLayout at = quant_layout(a.type.dtype, a.type.shape, a.type.quant);
    if (at.n_nested == 0) return same(0, at.codes_bytes) && same(at.scales_at, 4 * at.n_scales);
    return same(0, at.codes_bytes) && same(at.scales_at, at.n_scales) && same(at.nested_at, 4 * at.n_nested) &&
           same(at.offset_at, 4);
}

MicroBatch some_tokens(int64_t vocabulary) {
    MicroBatch batch;
    for (int32_t t = 0; t < 9; ++t) {
        batch.ids.push_back(static_cast<int32_t>((7 * t + 3) % vocabulary));
        batch.labels.push_back(kIgnoredLabel);
        batch.positions.push_back(t);
        batch.spans.insert(batch.spans.end(), {0, t + 1});
    }
    batch.n_tokens = 9;
    return batch;
}

// Sizes that are odd, so that codes end in half a byte and blocks run across rows.
Model odd_model() {
    const LlamaConfig config = parse_config(
        R"({"model_type": "llama", "vocab_size": 31, "hidden_size": 9, "intermediate_size": 37, "head_dim": 6,
            "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1})",
        "odd");
    return {{}, config, {}, initial_source(config, 5), {}};
}

void check_same_as_quantized_here(const Model& original, const fs::path& folder, const BnbFolder& how) {
    write_bnb_folder(original, folder, how);
    const Model model = open_bare(folder);
    CHECK(model.weights->quantized() == how.form);
    const WeightChoice choice = choice_of(how.form);
    const Loaded stored(model), here(original, choice), plain(original);
    for (const WeightRow& row : weight_rows(model.config)) {
        CAPTURE(row.name);
        const bool is_plain = row.module() == how.plain;
        CHECK(same_weight(stored.at(row.name), is_plain ? plain.at(row.name) : here.at(row.name)));
    }
    if (!how.plain.empty()) return;
    const MicroBatch batch = some_tokens(model.config.vocab_size);
    CHECK(logits_of(model, batch, *stored.backend) == logits_of(original, batch, *stored.backend, choice));
}

// Folders of golden/ whose model is quantized, with logits.
std::vector<fs::path> golden_checkpoints() {
    std::vector<fs::path> found;
    for (const fs::path& folder : golden_folders({"model/config.json", "forward.safetensors"}))
        if (read_config(folder / "model").quantization) found.push_back(folder);
    if (found.empty()) skipped("golden folders with a model in 4 bits");
    return found;
}

// Mean over the labels.
double loss_of(const std::vector<double>& logits, const MicroBatch& batch) {
    const size_t width = logits.size() / batch.labels.size();
    double sum = 0;
    for (size_t t = 0; t < batch.labels.size(); ++t) {
        if (batch.labels[t] == kIgnoredLabel) continue;
        double total = 0;
        for (size_t i = 0; i < width; ++i) total += std::exp(logits[t * width + i]);
        sum += std::log(total) - logits[t * width + static_cast<size_t>(batch.labels[t])];
    }
    return sum / static_cast<double>(batch.label_tokens);
}

// What bitsandbytes restores, of the file alone: level * (map[code] * nested + offset), each step rounded.
std::vector<float> restored(const ShardedSafetensors& files, const WeightRow& row) {
    std::vector<std::byte> codes, absmax, nested, text, levels;
    const auto read = [&](const std::string& suffix, std::vector<std::byte>& bytes) {
        return files.read(row.name + suffix, bytes);
    };
    read("", codes), read(".absmax", absmax), read(".nested_absmax", nested), read(".quant_map", levels);
    const FileTensor state = read(".quant_state.bitsandbytes__nf4", text);
    const char* begin = static_cast<const char*>(state.data);
    const auto offset = json::parse(begin, begin + state.n_bytes()).at("nested_offset").get<float>();
    std::vector<float> values;
    for (size_t i = 0; i < static_cast<size_t>(row.shape.n_elems()); ++i) {
        const auto byte = static_cast<unsigned>(codes[i / 2]), code = i % 2 == 0 ? byte >> 4 : byte & 15;
        const size_t block = i / 64;
        const volatile float product = kSignedMap.at(static_cast<size_t>(absmax[block])) *
                                       reinterpret_cast<const float*>(nested.data())[block / 256];
        const volatile float scale = product + offset;
        values.push_back(reinterpret_cast<const float*>(levels.data())[code] * scale);
    }
    return values;
}

}  // namespace

TEST_CASE("bnb 4-bit: logits and loss of a checkpoint equal transformers'") {
    const auto backend = make_cpu_backend(2);
    for (const fs::path& folder : golden_checkpoints()) {
        CAPTURE(folder);
        const MicroBatch batch = forward_batch(folder);
        const std::vector<double> logits = logits_of(open_bare(folder / "model"), batch, *backend);
        CHECK(relative_l2(logits, expected_logits(folder)) < 1e-5);
        const double expected = to_doubles(SafetensorsFile(folder / "forward.safetensors").at("loss"))[0];
        CHECK(std::abs(loss_of(logits, batch) - expected) < 1e-6 * expected);
    }
}

TEST_CASE("bnb 4-bit: codes and scales in memory are the file's, values those that they restore to, bit for bit") {
    for (const fs::path& folder : golden_checkpoints()) {
        const Model model = open_bare(folder / "model");
        REQUIRE(model.weights->quantized() == QuantForm{DType::nf4, {64, true}});
        const Loaded loaded(model);
        const ShardedSafetensors files(folder / "model");
        for (const WeightRow& row : weight_rows(model.config)) {
            if (row.role != WeightRole::linear) continue;
            CAPTURE(row.name);
            const Buffer& weight = loaded.at(row.name);
            const QuantLayout at = quant_layout(DType::nf4, row.shape, {64, true});
            std::vector<std::byte> bytes;
            const auto* data = static_cast<const std::byte*>(weight.data);
            CHECK(same_bytes(data, files.read(row.name, bytes).data, at.codes_bytes));
            CHECK(same_bytes(data + at.scales_at, files.read(row.name + ".absmax", bytes).data, at.n_scales));
            CHECK(
                same_bytes(data + at.nested_at, files.read(row.name + ".nested_absmax", bytes).data, 4 * at.n_nested));
            CHECK(read_f32(loaded.store, weight) == restored(files, row));
        }
    }
}

TEST_CASE("bnb 4-bit: any type, block and storage is what quantizing the original gives") {
    const Workplace place;
    const Model original = open_model(place.model);
    for (const DType type : {DType::nf4, DType::fp4})
        for (const bool double_quant : {true, false})
            for (const DType storage : {DType::u8, DType::bf16, DType::f16, DType::f32})
                for (const int block : {64, 256}) {
                    INFO(name(type), double_quant, name(storage), block);
                    const BnbFolder how{{type, {block, double_quant}}, storage, ""};
                    check_same_as_quantized_here(original, place.copy_of_model("bnb"), how);
                }
}

TEST_CASE("bnb 4-bit: odd sizes") {
    const TempDir dir;
    for (const DType type : {DType::nf4, DType::fp4})
        for (const bool double_quant : {true, false})
            check_same_as_quantized_here(odd_model(), dir / "odd", {{type, {64, double_quant}}, DType::u8, ""});
}

TEST_CASE("bnb 4-bit: a module that was left out stays plain beside the others, and runs") {
    const Workplace place;
    BnbFolder how;
    how.plain = "model.layers.1.mlp.up_proj";
    check_same_as_quantized_here(open_model(place.model), place.copy_of_model("bnb"), how);
    const fs::path folder = small_bnb(place, how);
    const Model model = open_model(folder);
    const WeightRow plain{how.plain + ".weight", {}, WeightRole::linear};
    CHECK_FALSE(info(model.weights->type(plain).dtype).quantized);
    check_contains(generate(greedy(folder, "Once")).notes,
                   "base in nf4, blocks of 64, double scales, already quantized");
    TrainOptions options = place.options(1);
    options.base.model = folder;
    CHECK(train(options).steps.size() == 1);
    PlanRequest request;
    request.train = options;
    int64_t n_quantized = 0;
    for (const WeightRow& row : weight_rows(model.config))
        if (row.role == WeightRole::linear && row.module() != how.plain) n_quantized += row.shape.n_elems();
    CHECK(json::parse(RunPlan(request).json()).at("quantized_weights") == n_quantized);
}

TEST_CASE("bnb 4-bit: a run and its resume are those on the original quantized the same way") {
    const Workplace place;
    TrainOptions options = place.options(4);
    options.base.quant_spec = {128, false};
    const std::vector<double> expected = train(options).losses();
    options.base.model = small_bnb(place, {{DType::nf4, {128, false}}, DType::bf16, ""});
    options.base.quant_spec = {};  // the folder says it
    options.output = place / "stored";
    const Observed first = train(options, 2);
    options.resume = "";
    Observed run = train(options);
    CHECK(run.warnings == first.warnings);
    std::vector<double> losses = first.losses();
    for (double loss : run.losses()) losses.push_back(loss);
    CHECK(losses == expected);
    const auto record = read_base_record(place / "stored");
    REQUIRE(record);
    CHECK(describe(record->form) == "nf4, blocks of 128, single scales, already quantized");
    CHECK(generate(greedy(options.base.model, "Once", place / "stored")).warnings == "");
    check_contains(
        generate(greedy(place.model, "Once", place / "stored")).warnings,
        "the adapter was trained on a base in nf4, blocks of 128, single scales, already quantized, this one "
        "is in nf4, blocks of 128, single scales; answers will differ");
}

TEST_CASE("bnb 4-bit: plans count what the folder holds and say so") {
    const Workplace place;
    const fs::path folder = small_bnb(place, {{DType::fp4, {64, false}}, DType::u8, ""});
    TrainOptions options = place.options(1);
    options.base.model = folder;
    options.plan = true;
    const std::string printed = train(options).printed;
    check_contains(printed, " of 4.500 bits");
    check_contains(printed, "already quantized: fp4, blocks of 64, single scales");
    PlanRequest request;
    request.train = options;
    const RunPlan plan(request);
    const json figures = json::parse(plan.json());
    CHECK(figures.at("bits_a_quantized_weight") == 4.5);
    CHECK(figures.at("double_quant_saves_bytes") == 0);
}

}  // namespace ggq::test
