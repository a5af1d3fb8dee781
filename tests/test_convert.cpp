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
    const Adapter read = open_adapter(dir / "mlx");
    const std::vector<float> b = as_floats(read.modules.at(kUp).b),
                             before = as_floats(open_adapter(peft).modules.at(kUp).b);
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
    CHECK(open_adapter(dir / "mlx").config.use_dora);
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
        return error_of([&] { open_adapter(dir / "other"); });
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

}  // namespace ggq::test
