// What is refused, or warned of, of a base that bitsandbytes stored in 4 bits.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/backend.h"
#include "kernels/code_maps.h"
#include "models/bnb_4bit.h"
#include "models/llama.h"
#include "tests/bnb_folder.h"
#include "tests/file_checks.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kLinear = "model.layers.0.mlp.down_proj.weight";

void load(const Model& model) {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    const auto llama = declare_llama(store, model, {});
    store.allocate();
    load_weights(store, *llama, *model.weights);
}

}  // namespace

TEST_CASE("bnb 4-bit: options that contradict the folder are refused, those that agree are not") {
    const Workplace place;
    const fs::path folder = small_bnb(place, {{DType::fp4, {128, false}}, DType::u8, ""});
    const auto refusal = [&](const std::function<void(BaseOptions&)>& wish) {
        GenerateOptions options = greedy(folder, "Once");
        wish(options.base);
        return error_of([&] { generate(options); });
    };
    const std::string why =
        ": the checkpoint is already quantized as fp4, blocks of 128, single scales; leave the option away, or take "
        "the "
        "checkpoint from before it was quantized";
    CHECK(refusal([](BaseOptions& o) { o.given.quant = true; }) == "`quant` nf4" + why);
    CHECK(refusal([](BaseOptions& o) { o.given.quant = true, o.quant = std::nullopt; }) == "`quant` none" + why);
    CHECK(refusal([](BaseOptions& o) { o.given.block = true; }) == "`quant_block` 64" + why);
    CHECK(refusal([](BaseOptions& o) { o.given.double_quant = true; }) == "`double_quant` true" + why);
    CHECK(refusal([](BaseOptions& o) { o.given.only_adapted = o.quant_only_adapted = true; }) ==
          "`quant_only_adapted` true" + why);
    CHECK(refusal([](BaseOptions& o) { o.given.quant = true, o.quant = DType::fp4; }) == "no error");
    CHECK(refusal([](BaseOptions& o) { o.given.block = true, o.quant_spec.block = 128; }) == "no error");
    TrainOptions full = place.options(1);
    full.base.model = folder;
    full.train = TrainKind::full;
    check_contains(error_of([&] { train(full); }), "`train` full: the checkpoint is already quantized as fp4");
    full.from_scratch = true;
    check_contains(error_of([&] { train(full); }), "quantization_config: a new model is not quantized");
}

TEST_CASE("bnb 4-bit: what config.json says otherwise is a warning, what it leaves out is fp4") {
    const Workplace place;
    const fs::path folder = small_bnb(place);
    CHECK(open_model(folder).warnings.empty());
    change_config(folder, "quantization_config", {{"load_in_4bit", true}});
    const std::vector<std::string> warnings = open_model(folder).warnings;
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0] == (folder / "config.json").string() +
                             ": quantization_config says fp4 with single scales, the tensors are nf4, blocks of 64, "
                             "double scales; they count");
    change_config(folder, "quantization_config", {{"load_in_8bit", true}});
    CHECK(open_model(folder).warnings.size() == 1);
    change_config(folder, "quantization_config", {{"quant_method", "gptq"}});
    check_contains(error_of([&] { open_model(folder); }), "already quantized (gptq) cannot be loaded");
    change_config(folder, "quantization_config", nullptr);
    check_contains(error_of([&] { open_model(folder); }),
                   "holds linears in 4 bits, but config.json has no quantization_config");
    const fs::path plain = place.copy_of_model("plain");
    change_config(plain, "quantization_config", {{"load_in_4bit", true}});
    check_contains(error_of([&] { open_model(plain); }), "but the checkpoint has none that is");
}

namespace {

// A tensor of one weight, with bytes of its own.
template <typename T>
void replace(FileTensors& tensors, const std::string& name, DType dtype, const std::vector<T>& values,
             std::vector<std::vector<T>>& memory) {
    memory.push_back(values);
    tensors[name] = {memory.back().data(), dtype, {std::ssize(values)}};
}

}  // namespace

TEST_CASE("bnb 4-bit: tensors that do not fit are refused with file and name") {
    const Workplace place;
    std::vector<std::vector<float>> floats;
    const std::string linear = kLinear, nf4 = linear + ".quant_state.bitsandbytes__nf4";
    const std::pair<std::function<void(FileTensors&)>, std::string> cases[] = {
        {[&](FileTensors& t) { t.erase(nf4); }, ": has an absmax but no quant_state"},
        {[&](FileTensors& t) { t.erase(linear + ".quant_map"); }, ".quant_map: expected beside the 4-bit weight"},
        {[&](FileTensors& t) { t.erase(linear); }, ": expected beside the 4-bit weight, found none"},
        {[&](FileTensors& t) { t[linear] = t["model.norm.weight"]; }, " bytes of 4-bit codes, the checkpoint has "},
        {[&](FileTensors& t) { t[linear + ".absmax"] = t[linear + ".nested_absmax"]; }, ".absmax: expected "},
        {[&](FileTensors& t) { t[linear + ".nested_absmax"] = t[linear + ".quant_map"]; }, ".nested_absmax: expected "},
        {[&](FileTensors& t) { t[linear + ".quant_map"] = t[linear + ".nested_absmax"]; },
         ".quant_map: expected 16 of "},
        {[&](FileTensors& t) {
             std::vector<float> levels(kNf4Levels.begin(), kNf4Levels.end());
             levels[3] = std::nextafter(levels[3], 0.0f);
             replace(t, linear + ".quant_map", DType::f32, levels, floats);
         },
         ".quant_map: is not the table of bitsandbytes for this type"},
        {[&](FileTensors& t) {
             std::vector<float> map(kSignedMap.begin(), kSignedMap.end());
             map[7] += 1e-6f;
             replace(t, linear + ".nested_quant_map", DType::f32, map, floats);
         },
         ".nested_quant_map: is not the table"},
        {[&](FileTensors& t) {
             t["model.layers.1.mlp.down_proj.weight.quant_state.bitsandbytes__nf4"] =
                 t["model.layers.0.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4"];
         },
         "shape must be "},
        {[&](FileTensors& t) { t["model.embed_tokens.weight.quant_state.bitsandbytes__nf4"] = t[nf4]; },
         "model.embed_tokens.weight: is quantized, which only linears of layers are"},
        {[&](FileTensors& t) { t[linear + ".quant_state.bitsandbytes__fp4"] = t[nf4]; }, "quant_type must be fp4"},
        {[&](FileTensors& t) { t[nf4] = t[linear + ".nested_quant_map"]; }, " bytes of JSON as u8, got "},
        {[&](FileTensors& t) { t["model.layers.0.mlp.down_proj.SCB"] = t[linear + ".absmax"]; },
         "this tensor is in the checkpoint but not in a Llama"},
    };
    for (const auto& [change, expected] : cases) {
        const fs::path folder = small_bnb(place, {}, change);
        const std::string said = error_of([&] { open_model(folder); });
        CHECK(said.starts_with(folder.string()));  // the file, or of a tensor that is missing the folder
        check_contains(said, expected);
    }
}

TEST_CASE("bnb 4-bit: a map within an ulp is taken; scales that are not finite are refused when they are read") {
    const Workplace place;
    std::vector<std::vector<float>> floats;
    std::vector<float> map(kSignedMap.begin(), kSignedMap.end());
    map[7] = std::nextafter(map[7], 0.0f);
    const std::string linear = kLinear;
    const auto other_map = [&](FileTensors& t) { replace(t, linear + ".nested_quant_map", DType::f32, map, floats); };
    CHECK(error_of([&] { open_model(small_bnb(place, {}, other_map)); }) == "no error");
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        const auto n_nested = [&](FileTensors& t) { return t[linear + ".nested_absmax"].shape.n_elems(); };
        const fs::path folder = small_bnb(place, {}, [&](FileTensors& t) {
            const std::vector<float> values(static_cast<size_t>(n_nested(t)), bad);
            replace(t, linear + ".nested_absmax", DType::f32, values, floats);
        });
        const Model model = open_model(folder);
        CHECK(error_of([&] { load(model); }) ==
              (folder / "model.safetensors").string() + ": " + linear +
                  ".nested_absmax: has NaN, infinite or far too large scales; the file is damaged");
    }
    const fs::path single = small_bnb(place, {{DType::nf4, {64, false}}, DType::u8, ""}, [&](FileTensors& t) {
        const auto n = static_cast<size_t>(t[linear + ".absmax"].shape.n_elems());
        replace(t, linear + ".absmax", DType::f32, std::vector<float>(n, NAN), floats);
    });
    const Model model = open_model(single);
    check_contains(error_of([&] { load(model); }), ".absmax: has NaN, infinite or far too large scales");
}

TEST_CASE("bnb 4-bit: every field of a quant_state is looked at") {
    const json good = {{"quant_type", "nf4"},   {"blocksize", 64},         {"dtype", "bfloat16"},
                       {"shape", {8, 16}},      {"nested_blocksize", 256}, {"nested_dtype", "float32"},
                       {"nested_offset", 0.125}};
    const auto parse = [](const json& state) {
        return parse_bnb_4bit_state(state.dump(), "state", DType::nf4, {8, 16});
    };
    CHECK(parse(good).form == QuantForm{DType::nf4, {64, true}});
    CHECK(parse(good).offset == 0.125f);
    const std::tuple<const char*, json, const char*> cases[] = {
        {"quant_type", "fp4", "state: quant_type must be nf4, got \"fp4\""},
        {"quant_type", nullptr, "state: quant_type must be nf4, got nothing"},
        {"blocksize", 32, "state: blocksize must be 64, 128 or 256, got 32"},
        {"blocksize", -64, "state: blocksize must be a whole number of 1 or more, got -64"},
        {"shape", {16, 8}, "state: shape must be [8,16], as config.json has it, got [16,8]"},
        {"shape", 128, "state: shape must be [8,16], as config.json has it, got 128"},
        {"shape", nullptr, "state: shape must be [8,16], as config.json has it, got nothing"},
        {"nested_blocksize", 128, "state: nested_blocksize must be 256, got 128"},
        {"nested_blocksize", nullptr, "state: nested_blocksize must be a whole number of 1 or more, got nothing"},
        {"nested_dtype", "float16", "state: nested_dtype must be float32, got \"float16\""},
        {"nested_offset", nullptr, "state: nested_offset must be a finite number, got nothing"},
        {"nested_offset", "0.1", "state: nested_offset must be a finite number, got \"0.1\""},
        {"nested_offset", 1e39, "state: nested_offset must be a finite number, got 1e+39"},
    };
    for (const auto& [key, value, expected] : cases) {
        json state = good;
        state[key] = value;
        CHECK(error_of([&] { parse(state); }) == expected);
    }
    CHECK(error_of([&] {
              parse_bnb_4bit_state("[]", "state", DType::nf4, {8, 16});
          }) == "state: expected a JSON object");
}

}  // namespace ggq::test
