// Model folders and adapters that cannot be used: one clear sentence, before anything is written.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "models/adapter_files.h"
#include "tests/file_checks.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kWeights = "model.safetensors";

struct RawSafetensors {
    Json header;
    std::string data;
};

RawSafetensors read_raw(const fs::path& path) {
    const std::string bytes = content_of(path);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
}

void write_raw(const fs::path& path, const RawSafetensors& raw) {
    const std::string header = raw.header.dump();
    const uint64_t length = header.size();
    write_text(path, std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + raw.data);
}

// What train and generate say to a model folder that `damage` has spoiled; the output folder must not appear.
std::string refusal(const std::function<void(const fs::path& model)>& damage) {
    const Workplace place;
    TrainOptions options = place.options(2);
    options.base.model = place.copy_of_model();
    damage(options.base.model);
    const std::string reason = error_of([&] { train(options); });
    CHECK_FALSE(fs::exists(place.out));
    CHECK(error_of([&] { generate(greedy(options.base.model, "Once")); }) == reason);
    CHECK(reason.find('\n') == std::string::npos);
    return reason;
}

std::string header_refusal(const std::function<void(RawSafetensors& raw)>& damage) {
    return refusal([&](const fs::path& model) {
        RawSafetensors raw = read_raw(model / kWeights);
        damage(raw);
        write_raw(model / kWeights, raw);
    });
}

std::string json_refusal(const char* file, const std::function<void(Json& content)>& damage) {
    return refusal([&](const fs::path& model) {
        Json content = Json::parse(content_of(model / file));
        damage(content);
        write_text(model / file, content.dump());
    });
}

void add_nan(const fs::path& model) {
    RawSafetensors raw = read_raw(model / kWeights);
    const size_t begin = raw.header["model.norm.weight"]["data_offsets"][0];
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(raw.data.data() + begin + 4, &nan, sizeof nan);
    write_raw(model / kWeights, raw);
}

// A folder in which an adapter of one update lies.
class Trained {
public:
    Trained() { train(place.options(1)); }

    Generated answer() const { return generate(greedy(place.model, "Once", place.out)); }
    std::string refusal() const {
        return error_of([&] { answer(); });
    }

    const Workplace place;
};

}  // namespace

TEST_CASE("bad model: a folder or file that is missing") {
    check_contains(refusal([](const fs::path& model) { fs::remove_all(model); }),
                   "/model: expected a model folder (config.json, tokenizer.json, weights)");
    check_contains(refusal([](const fs::path& model) { fs::remove(model / "config.json"); }),
                   "/model/config.json is missing; a model folder in Hugging Face layout has one");
    check_contains(refusal([](const fs::path& model) { fs::remove(model / "tokenizer.json"); }),
                   "/model/tokenizer.json: no such file; a model folder needs its tokenizer");
    check_contains(refusal([](const fs::path& model) { fs::remove(model / kWeights); }),
                   "/model holds no weights: neither model.safetensors nor model.safetensors.index.json is there");
}

TEST_CASE("bad model: weights only as pytorch_model.bin, or as a Git LFS pointer") {
    check_contains(refusal([](const fs::path& model) { fs::rename(model / kWeights, model / "pytorch_model.bin"); }),
                   "holds its weights only as pytorch_model.bin, which cannot be read safely; convert them");
    check_contains(refusal([](const fs::path& model) {
                       write_text(model / kWeights,
                                  "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
                   }),
                   "/model/model.safetensors is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
}

TEST_CASE("bad model: a safetensors file that is damaged") {
    check_contains(refusal([](const fs::path& model) { fs::resize_file(model / kWeights, 500'000); }),
                   "but the file holds only");
    check_contains(refusal([](const fs::path& model) { fs::resize_file(model / kWeights, 100); }),
                   "reaches beyond the end of the file of 100 bytes");
    check_contains(header_refusal([](RawSafetensors& raw) {
                       raw.header["model.norm.weight"]["data_offsets"] =
                           raw.header["model.layers.0.input_layernorm.weight"]["data_offsets"];
                   }),
                   "overlaps the one before it in the file");
    check_contains(header_refusal([](RawSafetensors& raw) {
                       raw.header["model.norm.weight"]["shape"] = {int64_t{1} << 62, 64};
                   }),
                   "of tensor 'model.norm.weight' overflows 64 bits");
}

TEST_CASE("bad model: tensors of a wrong type, missing or surplus") {
    check_contains(header_refusal([](RawSafetensors& raw) { raw.header["model.norm.weight"]["dtype"] = "I32"; }),
                   "/model/model.safetensors: model.norm.weight: expected dtype F32, F16 or BF16, got i32");
    check_contains(header_refusal([](RawSafetensors& raw) { raw.header["model.norm.weight"]["dtype"] = "F8_E4M3"; }),
                   "tensor 'model.norm.weight' has dtype F8_E4M3; known are");
    check_contains(header_refusal([](RawSafetensors& raw) {
                       raw.header["model.norm.bias"] = raw.header["model.norm.weight"];
                       raw.header.erase("model.norm.weight");
                   }),
                   "/model: model.norm.weight: expected a tensor of shape [64] in the checkpoint, found none");
    check_contains(
        json_refusal("config.json", [](Json& config) { config["num_hidden_layers"] = 4; }),
        "/model/model.safetensors: model.layers.4.input_layernorm.weight: this tensor is in the checkpoint but not "
        "in a Llama");
}

TEST_CASE("bad model: an architecture that is not known") {
    check_contains(json_refusal("config.json",
                                [](Json& config) {
                                    config["architectures"] = {"GemmaForCausalLM"};
                                    config["model_type"] = "gemma";
                                }),
                   "config.json: the architecture [\"GemmaForCausalLM\"] is not known; known are 'LlamaForCausalLM'");
}

TEST_CASE("bad model: NaN weights are named, and nothing is written") {
    const Workplace place;
    TrainOptions options = place.options(2);
    options.base.model = place.copy_of_model();
    add_nan(options.base.model);
    const std::string expected =
        (options.base.model / fs::path("model.safetensors")).string() +
        ": model.norm.weight has NaN or infinite values; the file is damaged or the model diverged";
    CHECK(error_of([&] { train(options); }) == expected);
    CHECK_FALSE(fs::exists(place.out));
    CHECK(error_of([&] { generate(greedy(options.base.model, "Once")); }) == expected);
}

TEST_CASE("bad adapter: missing, or as adapter_model.bin") {
    const Trained trained;
    CHECK(error_of([&] { generate(greedy(trained.place.model, "Once", trained.place / "nowhere")); }) ==
          "the adapter folder " + (trained.place / "nowhere").string() + " is not there");
    fs::rename(trained.place.out / "adapter_model.safetensors", trained.place.out / "adapter_model.bin");
    check_contains(trained.refusal(), "holds its adapter only as adapter_model.bin, which cannot be read safely");
}

TEST_CASE("bad adapter: shapes that do not fit, and values that are not finite") {
    const Trained trained;
    const fs::path path = trained.place.out / "adapter_model.safetensors";
    fs::remove(trained.place.out / "ggq_base.json");  // which records what the file was
    const RawSafetensors good = read_raw(path);
    const std::string name = "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight";
    RawSafetensors bad = good;
    bad.header[name]["shape"] = {16, 4};
    bad.header[name]["dtype"] = "F64";
    write_raw(path, bad);
    check_contains(trained.refusal(),
                   "model.layers.0.self_attn.k_proj.lora_B.weight is [16,4] in the adapter, this model "
                   "needs [32,4]; it was trained on another one");
    bad = good;
    const float infinite = std::numeric_limits<float>::infinity();
    std::memcpy(bad.data.data() + bad.header[name]["data_offsets"][0].get<size_t>(), &infinite, sizeof infinite);
    write_raw(path, bad);
    check_contains(
        trained.refusal(),
        "/adapter_model.safetensors: model.layers.0.self_attn.k_proj.lora_B.weight has NaN or infinite values");
}

TEST_CASE("bad adapter: another base than the recorded one gives a warning") {
    const Trained trained;
    CHECK(trained.answer().warnings == "");
    const fs::path other = trained.place.copy_of_model();
    std::string bytes = content_of(other / kWeights);
    bytes.back() ^= 1;
    write_text(other / kWeights, bytes);
    const std::string warnings = generate(greedy(other, "Once", trained.place.out)).warnings;
    check_contains(warnings, "the adapter was trained on another base (" + trained.place.model.string() + ", hash ");
    CHECK(std::ranges::count(warnings, '\n') == 1);
}

TEST_CASE("bad adapter: another configuration of the base than the recorded one gives a warning") {
    const Trained trained;
    const fs::path other = trained.place.copy_of_model();
    CHECK(generate(greedy(other, "Once", trained.place.out)).warnings == "");
    change_config(other, "rms_norm_eps", 1e-3);
    check_contains(generate(greedy(other, "Once", trained.place.out)).warnings, "was trained on another base (");
}

TEST_CASE("bad adapter: linears left alone and values lifted are recorded, and part of the warning") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.base.quant_only_adapted = true;
    options.lora.targets = "q_proj";
    train(options);
    GenerateOptions wish = greedy(place.model, "Once", place.out);
    const std::string recorded = "nf4, blocks of 64, double scales, only linears with an adapter";
    check_contains(generate(wish).notes, "base in " + recorded + ";");
    wish.base.lift_f32 = true;
    CHECK(generate(wish).warnings == "the adapter was trained on a base in " + recorded + ", this one is in " +
                                         recorded + ", norms, embedding and head in f32; answers will differ\n");
    wish.base.lift_f32 = false;
    wish.base.given.quant = true;
    CHECK(generate(wish).warnings == "the adapter was trained on a base in " + recorded +
                                         ", this one is in nf4, blocks of 64, double scales; answers will differ\n");
}

TEST_CASE("bad adapter: the base is quantized as recorded, and another wish gives a warning") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.base.quant = DType::int8;
    train(options);
    GenerateOptions wish = greedy(place.model, "Once", place.out);
    const Generated recorded = generate(wish);
    check_contains(recorded.notes, "base in int8;");
    CHECK(recorded.warnings == "");
    wish.base.given.quant = true;
    const Generated wished = generate(wish);
    check_contains(wished.notes, "base in nf4, blocks of 64, double scales;");
    check_contains(wished.warnings, "the adapter was trained on a base in int8, this one is in nf4, blocks of 64");
}

TEST_CASE("bad adapter: one that records no base is noted in one line") {
    const Trained trained;
    fs::remove(trained.place.out / "ggq_base.json");
    const Generated answer = trained.answer();
    CHECK(answer.warnings == "");
    check_contains(answer.notes, "does not record how its base was quantized; the base is nf4, blocks of 64, double");
    nlohmann::json record = {{"version", 1}, {"quant", "nf4"}, {"quant_block", 100}};
    write_text(trained.place.out / "ggq_base.json", record.dump());
    check_contains(trained.refusal(), "ggq_base.json: quant_block must be 64, 128 or 256, got 100");
}

}  // namespace ggq::test
