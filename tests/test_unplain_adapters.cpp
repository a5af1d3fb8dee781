// Adapters that are more than low-rank updates of linears within layers: DoRA, head and embedding, modules as a whole,
// tied or not. Loaded, computed in generate, merged.
#include <doctest/doctest.h>

#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "ggq/io/atomic_file.h"
#include "ggq/io/sharded_safetensors.h"
#include "models/initial_values.h"
#include "models/merge/merge.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";
constexpr const char* kDown = "model.layers.1.mlp.down_proj";
constexpr int64_t kRank = 3;

// An adapter folder made of random tensors.
class Made {
public:
    json config = {{"peft_type", "LORA"}, {"r", kRank}, {"lora_alpha", 6}, {"target_modules", {"q_proj", "down_proj"}}};

    // Under PEFT's prefix.
    const std::vector<float>& add(const std::string& name, const Shape& shape, float bound, float offset = 0) {
        std::vector<float>& values = memory_.emplace_back(uniform_values(shape.n_elems(), bound, 11, name));
        for (float& x : values) x += offset;
        tensors_["base_model.model." + name] = {values.data(), DType::f32, shape};
        return values;
    }

    void add_low_rank(const std::string& module, int64_t out, int64_t in) {
        add(module + ".lora_A.weight", {kRank, in}, 0.3f);
        add(module + ".lora_B.weight", {out, kRank}, 0.3f);
    }

    fs::path write(const fs::path& folder) const {
        fs::create_directories(folder);
        write_file(folder / "adapter_config.json", config.dump());
        write_safetensors(folder / "adapter_model.safetensors", tensors_);
        return folder;
    }

    std::vector<double> values(const std::string& name) const {
        return to_doubles(tensors_.at("base_model.model." + name));
    }

private:
    std::deque<std::vector<float>> memory_;
    FileTensors tensors_;
};

Shape shape_of(const fs::path& model, const std::string& module) {
    return ShardedSafetensors(model).at(module + ".weight").shape;
}

std::vector<double> weight_of(const fs::path& model, const std::string& name) {
    std::vector<std::byte> bytes;
    return to_doubles(ShardedSafetensors(model).read(name, bytes));
}

// w + s b a of an adapter made above, in double.
std::vector<double> sum_of(const fs::path& model, const Made& made, const std::string& module, double scaling) {
    std::vector<double> w = weight_of(model, module + ".weight");
    const std::vector<double> a = made.values(module + ".lora_A.weight"), b = made.values(module + ".lora_B.weight");
    const size_t n = a.size() / kRank;
    for (size_t i = 0; i < w.size() / n; ++i)
        for (size_t j = 0; j < n; ++j)
            for (size_t k = 0; k < kRank; ++k) w[i * n + j] += scaling * b[i * kRank + k] * a[k * n + j];
    return w;
}

void scale_rows(std::vector<double>& w, const std::vector<double>& magnitude) {
    const size_t n = w.size() / magnitude.size();
    for (size_t i = 0; i < magnitude.size(); ++i) {
        double squares = 0;
        for (size_t j = 0; j < n; ++j) squares += w[i * n + j] * w[i * n + j];
        for (size_t j = 0; j < n; ++j) w[i * n + j] *= magnitude[i] / std::sqrt(squares);
    }
}

fs::path merge_f32(const fs::path& model, const fs::path& adapter, const fs::path& output) {
    MergeOptions o;
    o.base.model = model;
    o.adapters = {{adapter, 1}};
    o.onto = MergeBase::original;
    o.dtype = DType::f32;
    o.output = output;
    run_merge(o, {});
    return output;
}

std::string answer(const fs::path& model, const fs::path& adapter = {}) {
    GenerateOptions o = greedy(model, "Once upon a time", adapter);
    o.base.quant = std::nullopt;
    o.base.given.quant = true;
    return generate(o).text;
}

void check_answers(const fs::path& model, const fs::path& adapter, const fs::path& merged) {
    CHECK(answer(model, adapter) == answer(merged));
    CHECK(answer(model, adapter) != answer(model));
}

Made low_rank_adapter(const fs::path& model) {
    Made made;
    for (const char* end : {"self_attn.q_proj", "mlp.down_proj"})
        for (int64_t layer = 0; layer < read_config(model).num_hidden_layers; ++layer) {
            const std::string module = "model.layers." + std::to_string(layer) + "." + end;
            const Shape shape = shape_of(model, module);
            made.add_low_rank(module, shape[0], shape[1]);
        }
    return made;
}

// With a head of its own, which is not the table.
fs::path untied_model(const Workplace& place) {
    const fs::path model = place.copy_of_model("untied");
    const SafetensorsFile file(model / "model.safetensors");
    FileTensors tensors = file.tensors();
    const Shape shape = tensors.at(kTable).shape;
    const std::vector<float> head = uniform_values(shape.n_elems(), 0.2f, 5, "head");
    tensors[kHead] = {head.data(), DType::f32, shape};
    write_safetensors(model / "model.safetensors", tensors);
    change_config(model, "tie_word_embeddings", false);
    return model;
}

}  // namespace

TEST_CASE("DoRA: merged rows have the magnitude's length and generate computes the same") {
    const Workplace place;
    Made made = low_rank_adapter(place.model);
    made.config["use_dora"] = true;
    check_contains(error_of([&] { read_adapter(made.write(place / "lacks")); }), "has no lora_magnitude_vector");
    for (int64_t layer = 0; layer < read_config(place.model).num_hidden_layers; ++layer)
        for (const char* end : {"self_attn.q_proj", "mlp.down_proj"}) {
            const std::string module = "model.layers." + std::to_string(layer) + "." + end;
            made.add(module + ".lora_magnitude_vector", {shape_of(place.model, module)[0]}, 0.1f, 1);
        }
    const fs::path adapter = made.write(place / "dora"), merged = merge_f32(place.model, adapter, place / "merged");
    for (const char* module : {kQ, kDown}) {
        std::vector<double> expected = sum_of(place.model, made, module, 2);
        scale_rows(expected, made.values(std::string(module) + ".lora_magnitude_vector"));
        CHECK(relative_l2(weight_of(merged, std::string(module) + ".weight"), expected) < 1e-6);
    }
    check_answers(place.model, adapter, merged);
    made.config["use_dora"] = false;
    check_contains(error_of([&] { read_adapter(made.write(place / "odd")); }),
                   "has a lora_magnitude_vector, but adapter_config.json says use_dora = false");
}

TEST_CASE("exclude_modules, by list or expression, are no targets") {
    json config = {{"peft_type", "LORA"}, {"target_modules", "all-linear"}, {"exclude_modules", {"mlp.up_proj"}}};
    const auto matches = [&](const std::string& module) {
        return module_matches(module, parse_lora_config(config.dump(), "adapter_config.json"));
    };
    CHECK(matches(kQ));
    CHECK_FALSE(matches("model.layers.3.mlp.up_proj"));
    CHECK(matches("model.layers.3.mlp.my_up_proj"));
    config["exclude_modules"] = R"(model\.layers\.0\..*)";
    CHECK_FALSE(matches(kQ));
    CHECK(matches(kDown));
    config["exclude_modules"] = "(";
    check_contains(error_of([&] { matches(kQ); }), "exclude_modules: regular expression '(' is not valid");
}

TEST_CASE("an adapter on head and embedding is merged by PEFT's shapes") {
    const Workplace place;
    const fs::path model = untied_model(place);
    Made made = low_rank_adapter(model);
    made.config["target_modules"] = {"q_proj", "down_proj", "lm_head", "embed_tokens"};
    const Shape shape = shape_of(model, "lm_head");
    made.add_low_rank("lm_head", shape[0], shape[1]);
    made.add("model.embed_tokens.lora_embedding_A", {kRank, shape[0]}, 0.3f);
    made.add("model.embed_tokens.lora_embedding_B", {shape[1], kRank}, 0.3f);
    const fs::path adapter = made.write(place / "adapter"), merged = merge_f32(model, adapter, place / "merged");
    CHECK(relative_l2(weight_of(merged, kHead), sum_of(model, made, "lm_head", 2)) < 1e-6);
    std::vector<double> table = weight_of(model, kTable);
    const std::vector<double> a = made.values("model.embed_tokens.lora_embedding_A"),
                              b = made.values("model.embed_tokens.lora_embedding_B");
    const auto vocabulary = static_cast<size_t>(shape[0]), width = static_cast<size_t>(shape[1]);
    for (size_t v = 0; v < vocabulary; ++v)
        for (size_t d = 0; d < width; ++d)
            for (size_t k = 0; k < kRank; ++k) table[v * width + d] += 2 * a[k * vocabulary + v] * b[d * kRank + k];
    CHECK(relative_l2(weight_of(merged, kTable), table) < 1e-6);
    check_answers(model, adapter, merged);
}

TEST_CASE("modules_to_save replace head and embedding") {
    const Workplace place;
    const fs::path model = untied_model(place);
    Made made = low_rank_adapter(model);
    made.config["modules_to_save"] = {"lm_head", "embed_tokens"};
    const Shape shape = shape_of(model, "lm_head");
    made.add("lm_head.weight", shape, 0.2f);
    made.add("model.embed_tokens.modules_to_save.default.weight", shape, 0.2f);
    const fs::path adapter = made.write(place / "adapter"), merged = merge_f32(model, adapter, place / "merged");
    CHECK(weight_of(merged, kHead) == made.values("lm_head.weight"));
    CHECK(weight_of(merged, kTable) == made.values("model.embed_tokens.modules_to_save.default.weight"));
    check_answers(model, adapter, merged);
    made.add("model.norm.weight", {shape[1]}, 0.2f);
    check_contains(error_of([&] { read_adapter(made.write(place / "norm")); }), "it is not supported");
    made.config["modules_to_save"] = {"lm_head", "embed_tokens", "norm"};
    merge_f32(model, made.write(place / "norm"), place / "with_norm");
    CHECK(weight_of(place / "with_norm", "model.norm.weight") == made.values("model.norm.weight"));
    Made wrong;
    wrong.add("lm_head.weight", {shape[0] + 1, shape[1]}, 0.2f);
    check_contains(error_of([&] { merge_f32(model, wrong.write(place / "wrong"), place / "x"); }),
                   "it was trained on another one");
}

TEST_CASE("every family: linears get the sum, biases and norms stay as they are") {
    for (const auto& entry : fs::directory_iterator(source_dir() / "tests/fixtures/families")) {
        const fs::path model = entry.path() / "model";
        CAPTURE(model);
        const TempDir dir;
        Made made;
        made.config["target_modules"] = {kQ};
        const Shape shape = shape_of(model, kQ);
        made.add_low_rank(kQ, shape[0], shape[1]);
        const fs::path merged = merge_f32(model, made.write(dir / "adapter"), dir / "merged");
        const std::string q = std::string(kQ) + ".weight";
        CHECK(relative_l2(weight_of(merged, q), sum_of(model, made, kQ, 2)) < 1e-6);
        for (const std::string& name : ShardedSafetensors(model).names())
            if (name != q) CHECK(weight_of(merged, name) == weight_of(model, name));
    }
}

TEST_CASE("a tied model is untied where its head or its embedding is changed alone") {
    const Workplace place;
    const fs::path tied = place.tied_model();
    const auto tie_of = [](const fs::path& folder) {
        return json::parse(content_of(folder / "config.json")).at("tie_word_embeddings").get<bool>();
    };
    const Shape shape = shape_of(tied, "model.embed_tokens");
    Made head;
    head.config["modules_to_save"] = {"lm_head"};
    head.add("lm_head.weight", shape, 0.2f);
    const fs::path of_head = head.write(place / "head"), merged = merge_f32(tied, of_head, place / "untied");
    CHECK_FALSE(tie_of(merged));
    CHECK(weight_of(merged, kHead) == head.values("lm_head.weight"));
    CHECK(weight_of(merged, kTable) == weight_of(tied, kTable));
    check_answers(tied, of_head, merged);
    Made table;
    table.config["modules_to_save"] = {"embed_tokens"};
    table.add("model.embed_tokens.weight", shape, 0.2f);
    const fs::path of_table = merge_f32(tied, table.write(place / "table"), place / "of_table");
    CHECK_FALSE(tie_of(of_table));
    CHECK(weight_of(of_table, kHead) == weight_of(tied, kTable));
    table.config["ensure_weight_tying"] = true;
    CHECK(tie_of(merge_f32(tied, table.write(place / "kept"), place / "still_tied")));
    CHECK(weight_of(place / "still_tied", kTable) == table.values("model.embed_tokens.weight"));
    CHECK_FALSE(ShardedSafetensors(place / "still_tied").find(kHead));
}

}  // namespace ggq::test
