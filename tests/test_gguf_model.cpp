// Models in GGUF files: the same configuration and logits as in Hugging Face layout, weights held in the types of the
// file or in others.
#include <doctest/doctest.h>

#include <cmath>

#include "ggq/io/atomic_file.h"
#include "ggq/transfer.h"
#include "models/gguf_names.h"
#include "models/rope.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/gguf_bytes.h"
#include "tests/gguf_model.h"
#include "tests/golden.h"
#include "tests/gpu.h"
#include "tests/small_llama.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;

namespace ggq::test {

namespace {

GgufType all_f32(const WeightRow&) { return GgufType::f32; }

// Rows of whole blocks of any type.
Model wide_model(bool tied = false) {
    LlamaConfig c = small_config(1);
    c.hidden_size = c.intermediate_size = 256;
    c.head_dim = 64;
    c.tie_word_embeddings = tied;
    return {{}, c, {}, initial_source(c, 7), {}};
}

WeightChoice held_as(std::optional<DType> quant) {
    WeightChoice choice;
    choice.quant = quant;
    return choice;
}

std::vector<double> logits_of(const Model& model, const WeightChoice& choice = {}) {
    const auto cpu = make_cpu_backend(2);
    return test::logits_of(model, small_update(12).micro_batches[0], *cpu, choice);
}

// The file's weights, decoded, in a file of F32.
fs::path decoded_copy(const fs::path& path, const TempDir& dir) {
    const fs::path copy = dir / "decoded.gguf";
    write_gguf_model(copy, open_bare_gguf(path), all_f32);
    return copy;
}

}  // namespace

TEST_CASE("gguf model: names of tensors, there and back") {
    for (const WeightRow& row : weight_rows(small_config(12))) {
        const auto name = gguf_name(row.name);
        REQUIRE(name);
        CHECK(hf_name(*name) == row.name);
    }
    CHECK(gguf_name("model.layers.11.self_attn.o_proj.weight.lora_a") == "blk.11.attn_output.weight.lora_a");
    CHECK(!gguf_name("model.layers.x.mlp.up_proj.weight"));
    CHECK(!gguf_name("model.layers.1.mlp.up_projection.weight"));
    CHECK(!hf_name("blk.1.ffn_gate_inp.weight"));
}

TEST_CASE("gguf model: the same configuration and logits as in Hugging Face layout") {
    const TempDir dir;
    const auto cpu = make_cpu_backend(2);
    for (const fs::path& folder : golden_folders({"model/config.json", "forward.safetensors", "grads.safetensors"})) {
        const Model original = open_bare(folder / "model");
        if (original.config.family != Family::llama || original.config.rope.kind != RopeKind::plain) continue;
        CAPTURE(folder);
        write_gguf_model(dir / "model.gguf", original, all_f32);
        const Model model = open_bare_gguf(dir / "model.gguf");
        CHECK(function_text(model.config) == function_text(original.config));
        CHECK(test::logits_of(model, forward_batch(folder), *cpu) ==
              test::logits_of(original, forward_batch(folder), *cpu));
        CHECK(relative_l2(test::logits_of(model, forward_batch(folder), *cpu), expected_logits(folder)) < 1e-5);
    }
}

TEST_CASE("gguf model: weights of every type are held as they are, and decoded for other forms") {
    for (const char* type : {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "F16", "BF16"})
        for (const bool tied : {false, true}) {
            CAPTURE(type);
            CAPTURE(tied);
            const TempDir dir;
            write_gguf_model(dir / "m.gguf", wide_model(tied), [&](const WeightRow&) { return *gguf_type(type); });
            const Model model = open_bare_gguf(dir / "m.gguf");
            CHECK(model.weights->packed().has_value() == (std::string_view(type).front() != 'F' && type[0] != 'B'));
            const Model decoded = open_bare_gguf(decoded_copy(dir / "m.gguf", dir));
            CHECK(relative_l2(logits_of(model), logits_of(decoded)) < 1e-5);  // products that add in another order
            CHECK(logits_of(model, held_as(DType::int8)).size() == logits_of(decoded, held_as(DType::int8)).size());
            const double apart =
                relative_l2(logits_of(model, held_as(DType::nf4)), logits_of(decoded, held_as(DType::nf4)));
            CHECK(apart < 1e-6);
        }
}

TEST_CASE("gguf model: weights keep their types in memory where nothing else is wished for") {
    const TempDir dir;
    write_gguf_model(dir / "m.gguf", wide_model(), mixed_types);
    const Model model = open_bare_gguf(dir / "m.gguf");
    CHECK(*model.weights->packed() == "1 Q4_0, 6 Q8_0");
    const auto cpu = make_cpu_backend(1);
    const auto type_of = [&](const char* name, const WeightChoice& choice) {
        Store store(*cpu);
        return declare_llama(store, model, choice)->weights.at(name)->type.dtype;
    };
    constexpr const char *kV = "model.layers.0.self_attn.v_proj.weight", *kTableName = "model.embed_tokens.weight";
    CHECK(type_of(kV, {}) == DType::q4_0);
    CHECK(type_of(kTableName, {}) == DType::q8_0);
    CHECK(type_of(kV, held_as(DType::nf4)) == DType::nf4);
    CHECK(type_of(kTableName, held_as(DType::nf4)) == DType::q8_0);
    WeightChoice lifted;
    lifted.lift_f32 = true;
    CHECK(type_of(kTableName, lifted) == DType::f32);
    CHECK(type_of(kV, lifted) == DType::q4_0);
}

TEST_CASE("gguf model: factors of llama3's rope are known again, others are refused") {
    const TempDir dir;
    Model model = wide_model();
    model.config.rope.theta = 500000;
    LlamaConfig scaled = model.config;
    scaled.rope = {.kind = RopeKind::llama3, .theta = 500000, .factor = 32};
    scaled.rope.original_max_position_embeddings = 8192;
    const std::vector<float> plain = rope_frequencies(model.config), slow = rope_frequencies(scaled);
    std::vector<float> factors;
    for (size_t i = 0; i < plain.size(); ++i) factors.push_back(plain[i] / slow[i]);
    write_gguf_model(dir / "m.gguf", model, all_f32, factors);
    CHECK(open_bare_gguf(dir / "m.gguf").config.rope == scaled.rope);
    factors[0] = 2;
    write_gguf_model(dir / "m.gguf", model, all_f32, factors);
    check_contains(error_of([&] { open_bare_gguf(dir / "m.gguf"); }), "rope_freqs.weight does not hold the factors");
}

TEST_CASE("gguf model: what is no whole model, or not one that is held, is refused by name") {
    const TempDir dir;
    const auto refused = [&](const GgufBytes& bytes) {
        write_file(dir / "m.gguf", bytes.file());
        return error_of([&] { open_bare_gguf(dir / "m.gguf"); });
    };
    const std::string row(32 * 4, '\0');
    check_contains(refused(GgufBytes().entry("general.architecture", "gemma2")), "architecture 'gemma2' is not known");
    check_contains(refused(GgufBytes().entry("general.architecture", "llama")), "holds no whole model");
    const auto llama = [&] {
        GgufBytes bytes;
        bytes.entry("general.architecture", "llama").tensor("token_embd.weight", {32, 1}, 0, row);
        return bytes;
    };
    check_contains(refused(llama()), "'llama.embedding_length' is missing");
    check_contains(refused(llama().entry("split.count", uint32_t{3})), "one of 3 files");
    const auto sized = [&] {
        GgufBytes bytes = llama();
        for (const char* key : {"block_count", "attention.head_count"}) bytes.entry("llama." + std::string(key), 1u);
        return bytes.entry("llama.embedding_length", 32u).entry("llama.feed_forward_length", 32u);
    };
    check_contains(refused(sized()), "expected a tensor 'blk.0.attn_norm.weight'");
    check_contains(refused(sized().entry("llama.expert_count", 8u)), "'llama.expert_count' is 8");
    check_contains(refused(sized().list<uint32_t>("llama.attention.head_count_kv", 4, {1, 2})), "differs from layer");
}

TEST_CASE("gguf model: a damaged scale is found while weights are loaded") {
    const TempDir dir;
    write_gguf_model(dir / "m.gguf", wide_model(), [](const WeightRow&) { return GgufType::q6_k; });
    std::string bytes = content_of(dir / "m.gguf");
    const GgufTensor tensor = GgufFile(dir / "m.gguf").content().tensor("blk.0.ffn_up.weight");
    bytes[tensor.offset + 3 * 210 + 209] = 0x7c;
    write_file(dir / "m.gguf", bytes);
    const Model model = open_bare_gguf(dir / "m.gguf");
    check_contains(error_of([&] { logits_of(model); }), "'blk.0.ffn_up.weight' has NaN or infinite values");
    check_contains(error_of([&] { logits_of(model, held_as(DType::nf4)); }), "'blk.0.ffn_up.weight' has NaN");
}

TEST_CASE("gguf model: golden logits of a file of llama.cpp") {
    const auto root = fixtures();
    const fs::path samples = root ? *root / "data/gguf-samples" : fs::path();
    if (!root || !fs::exists(samples)) return skipped("data/gguf-samples is absent");
    const nlohmann::json golden = read_json(samples / "llama-2-tiny-random-golden.json");
    const Model model = open_model(samples / golden.at("file").get<std::string>());
    const auto ids = golden.at("ids").get<std::vector<int32_t>>();
    CHECK(model.tokenizer.encode(golden.at("text").get<std::string>()) == ids);
    MicroBatch batch;
    batch.ids = ids;
    batch.n_tokens = std::ssize(ids);
    for (int32_t t = 0; t < std::ssize(ids); ++t) {
        batch.labels.push_back(kIgnoredLabel);
        batch.positions.push_back(t);
        batch.spans.insert(batch.spans.end(), {0, t + 1});
    }
    for (Backend* device : devices()) {
        const std::vector<double> logits = test::logits_of(model, batch, *device, {});
        const double* last = logits.data() + (ids.size() - 1) * static_cast<size_t>(model.config.vocab_size);
        double norm = 0;
        for (int64_t i = 0; i < model.config.vocab_size; ++i) norm += last[i] * last[i];
        CHECK(std::sqrt(norm) == doctest::Approx(golden.at("logits_l2_last").get<double>()).epsilon(1e-5));
        for (const auto& top : golden.at("logits_top8_last"))
            CHECK(std::abs(last[top[0].get<size_t>()] - top[1].get<double>()) < 2e-6);
        for (size_t i = 0; i < 8; ++i)
            CHECK(std::abs(last[i] - golden.at("logits_first8_last")[i].get<double>()) < 2e-6);
    }
}

}  // namespace ggq::test
