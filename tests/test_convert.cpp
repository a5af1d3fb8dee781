// Adapters from one form into another: the round trip of mlx-lm's, scales and ranks that a form has one of, refusals.
#include <doctest/doctest.h>

#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "ggq/io/atomic_file.h"
#include "models/convert/adapter_math.h"
#include "models/convert/convert.h"
#include "models/convert/mlx_adapter.h"
#include "models/initial_values.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";
constexpr const char* kUp = "model.layers.1.mlp.up_proj";

// A folder of PEFT's: q_proj and up_proj of two layers, each [8, 6] with a rank of its own.
class MadeAdapter {
public:
    json config = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 8}, {"target_modules", {"q_proj", "up_proj"}}};

    void add(const std::string& module, int64_t r, bool dora = false) {
        add_tensor(module + ".lora_A.weight", {r, 6});
        add_tensor(module + ".lora_B.weight", {8, r});
        if (dora) add_tensor(module + ".lora_magnitude_vector", {8});
    }

    void add_tensor(const std::string& name, const Shape& shape) {
        const auto& values = memory_.emplace_back(uniform_values(shape.n_elems(), 1, 3, name));
        tensors_["base_model.model." + name] = {values.data(), DType::f32, shape};
    }

    fs::path write(const fs::path& folder) const {
        fs::create_directories(folder);
        write_file(folder / "adapter_config.json", config.dump());
        write_safetensors(folder / "adapter_model.safetensors", tensors_);
        return folder;
    }

private:
    std::deque<std::vector<float>> memory_;
    FileTensors tensors_;
};

ConvertResult convert(const fs::path& from, AdapterForm to, const fs::path& output) {
    ConvertOptions o;
    o.adapter = from;
    o.to = to;
    o.output = output;
    return run_conversion(o, {});
}

std::vector<fs::path> mlx_samples() {
    std::vector<fs::path> found;
    const auto root = fixtures();
    if (root && fs::exists(*root / "data"))
        for (const auto& entry : fs::recursive_directory_iterator(*root / "data"))
            if (entry.path().filename() == kMlxTensorFile) found.push_back(entry.path().parent_path());
    if (found.empty()) skipped("adapters of mlx-lm");
    return found;
}

}  // namespace

TEST_CASE("convert: mlx-lm's adapters to PEFT and back are the same to the byte") {
    for (const fs::path& sample : mlx_samples()) {
        CAPTURE(sample);
        const TempDir dir;
        CHECK(convert(sample, AdapterForm::peft, dir / "peft").distance == 0);
        const Adapter peft = read_adapter(dir / "peft");
        for (const auto& [module, t] : peft.modules) {
            CHECK(module_matches(module, peft.config));
            CHECK(lora_scale(module, peft.config) ==
                  read_json(sample / "adapter_config.json").at("lora_parameters").at("scale").get<double>());
        }
        CHECK_FALSE(module_matches("model.layers.0.self_attn.o_proj", peft.config));
        CHECK(convert(dir / "peft", AdapterForm::mlx, dir / "mlx").distance == 0);
        const SafetensorsFile before(sample / kMlxTensorFile), after(dir / "mlx" / kMlxTensorFile);
        REQUIRE(before.tensors().size() == after.tensors().size());
        for (const auto& [name, t] : before.tensors()) {
            CAPTURE(name);
            const FileTensor& u = after.at(name);
            CHECK(t.shape == u.shape);
            CHECK(std::memcmp(t.data, u.data, static_cast<size_t>(t.n_bytes())) == 0);
        }
        const json lora = read_json(dir / "mlx" / "adapter_config.json").at("lora_parameters");
        CHECK(lora.at("rank") == peft.config.r);
        CHECK(lora.at("keys") == json({"self_attn.q_proj", "self_attn.v_proj"}));
    }
}

TEST_CASE("convert: mlx-lm has a rank and a scale: smaller ranks get zeros, other scales go into B") {
    const TempDir dir;
    MadeAdapter made;
    made.add(kQ, 4);
    made.add(kUp, 2);
    made.config["rank_pattern"] = {{"q_proj", 4}};
    made.config["use_rslora"] = true;
    const fs::path peft = made.write(dir / "peft");
    CHECK(convert(peft, AdapterForm::mlx, dir / "mlx").distance < 1e-6);
    const SafetensorsFile file(dir / "mlx" / kMlxTensorFile);
    CHECK(file.at(std::string(kUp) + ".lora_a").shape == Shape{6, 4});
    CHECK(file.at(std::string(kUp) + ".lora_b").shape == Shape{4, 8});
    const json lora = read_json(dir / "mlx" / "adapter_config.json").at("lora_parameters");
    CHECK(lora.at("rank") == 4);
    CHECK(lora.at("scale") == 1);
    const Adapter read = open_adapter(dir / "mlx", nullptr);
    const std::vector<float> b = as_floats(read.modules.at(kUp).b),
                             before = as_floats(open_adapter(peft, nullptr).modules.at(kUp).b);
    CHECK(b[0] == doctest::Approx(before[0] * 8 / std::sqrt(2.0)));
    CHECK(b[2] == 0);
    // What only some layers have is named in full.
    CHECK(read.config.layers_to_transform.empty());
    CHECK(read.config.target_modules == std::vector<std::string>{kQ, kUp});
}

TEST_CASE("convert: DoRA goes to mlx-lm and back, what that cannot hold is refused with advice") {
    const TempDir dir;
    MadeAdapter dora;
    dora.add(kQ, 2, true);
    dora.config["use_dora"] = true;
    CHECK(convert(dora.write(dir / "dora"), AdapterForm::mlx, dir / "mlx").distance == 0);
    CHECK(read_json(dir / "mlx" / "adapter_config.json").at("fine_tune_type") == "dora");
    CHECK(open_adapter(dir / "mlx", nullptr).config.use_dora);
    MadeAdapter whole;
    whole.add(kQ, 2);
    whole.add_tensor("lm_head.weight", {3, 6});
    CHECK(error_of([&] { convert(whole.write(dir / "whole"), AdapterForm::mlx, dir / "x"); }) ==
          (dir / "whole/adapter_model.safetensors").string() +
              ": has lm_head as a whole, which an adapter of mlx-lm cannot hold; merge it into its base");
    CHECK_FALSE(fs::exists(dir / "x"));
}

TEST_CASE("convert: adapters of mlx-lm that do not fit together are refused") {
    const TempDir dir;
    MadeAdapter made;
    made.add(kQ, 2);
    convert(made.write(dir / "peft"), AdapterForm::mlx, dir / "mlx");
    const auto with = [&](const char* key, const json& value) {
        json config = read_json(dir / "mlx" / "adapter_config.json");
        config[key] = value;
        write_file(dir / "changed.json", config.dump());
        fs::create_directories(dir / "other");
        fs::copy_file(dir / "mlx" / kMlxTensorFile, dir / "other" / kMlxTensorFile,
                      fs::copy_options::overwrite_existing);
        fs::copy_file(dir / "changed.json", dir / "other/adapter_config.json", fs::copy_options::overwrite_existing);
        return error_of([&] { open_adapter(dir / "other", nullptr); });
    };
    CHECK(with("seed", 7) == "no error");
    check_contains(with("fine_tune_type", "full"), "fine_tune_type 'full' is not supported");
    check_contains(with("fine_tune_type", "dora"), "the magnitude 'm' of '" + std::string(kQ) + "' is missing");
    check_contains(with("lora_parameters", {{"rank", 3}, {"scale", 2}}), "adapter_config.json says rank 3");
    check_contains(with("lora_parameters", {{"rank", 2}, {"scale", 0}}), "scale must be");
    check_contains(with("lora_parameters", nullptr), "lora_parameters must be an object");
}

TEST_CASE("convert: an adapter answers the same in either form; the program says so") {
    const Workplace place;
    train(place.options(20));
    const ProgramRun run =
        run_binary("convert", {"--adapter", place.out, "--to", "mlx", "--output", place / "mlx", "--json"});
    CHECK(run.code == 0);
    CHECK(json::parse(run.out).at("largest_difference") == 0);
    CHECK(fs::exists(place / "mlx/tokenizer.json"));
    CHECK(generate(greedy(place.model, "Once upon a time", place / "mlx")).text ==
          generate(greedy(place.model, "Once upon a time", place.out)).text);
    const ProgramRun same = run_binary("convert", {"--adapter", place.out, "--to", "peft", "--output", place.out});
    CHECK(same.code == 1);
    check_contains(same.err, "is the adapter that is read");
}

namespace {

// What the adapter of a training run in `place` becomes as a file of llama.cpp.
double to_gguf(const Workplace& place, const fs::path& adapter, GgufType type, const fs::path& output) {
    ConvertOptions o;
    o.adapter = adapter;
    o.to = AdapterForm::gguf;
    o.model = place.model;
    o.type = type;
    o.output = output;
    o.overwrite = true;
    return run_conversion(o, {}).distance;
}

}  // namespace

TEST_CASE("convert: to llama.cpp's form and back, in every type of its tensors") {
    const Workplace place;
    train(place.options(5));
    CHECK(to_gguf(place, place.out, GgufType::f32, place / "a.gguf") == 0);
    CHECK(to_gguf(place, place.out, GgufType::f16, place / "f16.gguf") > 0);
    CHECK(to_gguf(place, place.out, GgufType::bf16, place / "bf16.gguf") > 0);
    CHECK(to_gguf(place, place.out, GgufType::q8_0, place / "q8.gguf") > 0);
    ConvertOptions back;
    back.adapter = place / "a.gguf";
    back.output = place / "back";
    check_contains(error_of([&] { run_conversion(back, {}); }), "cannot be read without its `model`");
    back.model = place.model;
    CHECK(run_conversion(back, {}).distance == 0);
    CHECK(adapter_distance(read_adapter(place.out), read_adapter(place / "back")) == 0);
    CHECK(generate(greedy(place.model, "Once upon a time", place / "a.gguf")).text ==
          generate(greedy(place.model, "Once upon a time", place.out)).text);
    const GgufFile file(place / "a.gguf");
    CHECK(file.content().text("general.type") == "adapter");
    CHECK(file.content().number("adapter.lora.alpha") == 8);
    CHECK(file.content().find_tensor("blk.0.attn_q.weight.lora_a"));
    CHECK_FALSE(fs::exists(place / "a.gguf.check"));
}

TEST_CASE("convert: in llama.cpp's form rows of q and k are its own, and scales that alpha / r lacks are in B") {
    const Workplace place;
    const LlamaConfig config = read_config(place.model);
    MadeAdapter made;
    const int64_t width = config.hidden_size;
    const std::string q = kQ, up = "model.layers.0.mlp.up_proj";
    made.add_tensor(q + ".lora_A.weight", {4, width});
    made.add_tensor(q + ".lora_B.weight", {width, 4});
    made.add_tensor(up + ".lora_A.weight", {2, width});
    made.add_tensor(up + ".lora_B.weight", {config.intermediate_size, 2});
    made.config["rank_pattern"] = {{"q_proj", 4}};
    made.config["use_rslora"] = true;
    const fs::path peft = made.write(place / "made");
    CHECK(to_gguf(place, peft, GgufType::f32, place / "a.gguf") < 1e-6);
    const GgufFile file(place / "a.gguf");
    const Gguf& gguf = file.content();
    const auto values = [&](const std::string& name) {
        const GgufTensor& t = gguf.tensor(name);
        std::vector<float> x(static_cast<size_t>(t.shape.n_elems()));
        file.read_part(t, 0, std::as_writable_bytes(std::span(x)));
        return x;
    };
    const double alpha = gguf.number("adapter.lora.alpha").value_or(0);
    const Adapter before = read_adapter(peft);
    // The loader's factor, alpha / r.
    const std::vector<float> b = as_floats(before.modules.at(up).b), stored = values("blk.0.ffn_up.weight.lora_b");
    CHECK(stored[5] * alpha / 2 == doctest::Approx(b[5] * 8 / std::sqrt(2.0)));
    const std::vector<float> bq = as_floats(before.modules.at(q).b), stored_q = values("blk.0.attn_q.weight.lora_b");
    // The first half of a head is the even rows, the second the odd ones.
    const auto half = static_cast<size_t>(config.head_dim / 2);
    CHECK(stored_q[4] * alpha / 4 == doctest::Approx(bq[half * 4] * 8 / 2));
    CHECK(stored_q[8] * alpha / 4 == doctest::Approx(bq[4] * 8 / 2));
}

TEST_CASE("convert: what llama.cpp's form cannot hold is refused with advice") {
    const Workplace place;
    const int64_t width = read_config(place.model).hidden_size;
    MadeAdapter dora;
    dora.add(kQ, 2, true);
    dora.config["use_dora"] = true;
    const auto refusal = [&](const MadeAdapter& made) {
        const fs::path folder = made.write(place / "made");
        return error_of([&] { to_gguf(place, folder, GgufType::f16, place / "x.gguf"); });
    };
    check_contains(refusal(dora), "DoRA is nothing that a GGUF adapter can hold; merge it into its base");
    MadeAdapter whole;
    whole.add(kQ, 2);
    whole.add_tensor("lm_head.weight", {3, 6});
    check_contains(refusal(whole), "has lm_head as a whole, which a GGUF adapter cannot hold");
    MadeAdapter head;  // the model is tied
    head.add_tensor("lm_head.lora_A.weight", {2, width});
    head.add_tensor("lm_head.lora_B.weight", {512, 2});
    check_contains(refusal(head), "adapts lm_head, which is the embedding in this model");
    CHECK_FALSE(fs::exists(place / "x.gguf"));
}

}  // namespace ggq::test
