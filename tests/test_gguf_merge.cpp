// Merged models as GGUF files: tensors, metadata and vocabulary as llama.cpp's converter writes them.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/io/sharded_safetensors.h"
#include "models/convert/gguf_vocabulary.h"
#include "models/gguf_names.h"
#include "models/merge/merge.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/program_run.h"
#include "tests/script_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

MergeOptions merging(const Workplace& place, const fs::path& output) {
    MergeOptions o;
    o.base.model = place.model;
    o.base.device = "cpu";
    o.adapters = {{place.out, 1}};
    o.output = output;
    o.report.train_on_prompt = true;
    o.report.batch_size = 1;
    o.report.max_length = 64;
    return o;
}

std::vector<double> values_in(const GgufFile& file, const std::string& name) {
    const GgufTensor& t = file.content().tensor(name);
    std::vector<std::byte> bytes(static_cast<size_t>(t.n_bytes()));
    file.read_part(t, 0, bytes);
    const auto cpu = make_cpu_backend(1);
    return to_doubles(gguf_decoded(*cpu, t.type, bytes));
}

// Of the file, in the order of Hugging Face.
std::vector<double> in_hf_order(const GgufFile& file, const WeightRow& row, int64_t head_dim) {
    std::vector<double> values = values_in(file, gguf_name(row.name).value_or(""));
    if (!is_permuted(row.name)) return values;
    std::vector<double> ordered = values;
    const int64_t n = row.shape[1];
    for (int64_t i = 0; i < row.shape[0]; ++i)
        std::copy_n(values.begin() + permuted_row(i, head_dim) * n, n, ordered.begin() + i * n);
    return ordered;
}

}  // namespace

TEST_CASE("merge to GGUF: tensors are those of the merged folder, rows of q and k in llama.cpp's order") {
    const Workplace place;
    train(place.options(5));
    MergeOptions o = merging(place, place / "folder");
    o.dtype = DType::f32;
    run_merge(o, {});
    o.dtype = std::nullopt;
    const ShardedSafetensors folder(place / "folder");
    const LlamaConfig config = read_config(place.model);
    for (const auto& form :
         {std::pair(GgufType::f32, 0.0), {GgufType::f16, 1e-3}, {GgufType::bf16, 4e-3}, {GgufType::q8_0, 1e-2}}) {
        const auto type = form.first;
        const double bar = form.second;
        CAPTURE(info(type).name);
        o.gguf = type;
        o.output = place / (std::string(info(type).name) + ".gguf");
        o.report.data = place.data;
        const MergeResult result = run_merge(o, {});
        CHECK(result.onto == MergeBase::dequantized);
        REQUIRE(result.reports.size() == 1);
        CHECK(result.reports[0].difference.kl < (type == GgufType::f32 ? 1e-6 : 1e-3));
        const GgufFile file(o.output);
        CHECK(file.content().tensors.size() == weight_rows(config).size());
        for (const WeightRow& row : weight_rows(config)) {
            CAPTURE(row.name);
            std::vector<std::byte> bytes;
            const std::vector<double> expected = to_doubles(folder.read(row.name, bytes));
            CHECK(relative_l2(in_hf_order(file, row, config.head_dim), expected) <=
                  (row.role == WeightRole::norm ? 0 : bar));
        }
    }
    check_contains(error_of([&] { run_merge(o, {}); }), "Q8_0.gguf: is there already; allow it with `overwrite`");
    o.dtype = DType::f32;
    check_contains(error_of([&] { run_merge(o, {}); }), "`gguf`: expected neither `dtype`");
}

TEST_CASE("merge to GGUF: metadata and a vocabulary with scores") {
    const Workplace place;
    train(place.options(1));
    const ProgramRun run = run_binary("merge", {"--model", place.model, "--adapter", place.out, "--output",
                                                place / "m.gguf", "--gguf", "f16", "--device", "cpu"});
    CHECK(run.code == 0);
    const GgufFile file(place / "m.gguf");
    const Gguf& gguf = file.content();
    const LlamaConfig config = read_config(place.model);
    CHECK(gguf.text("general.architecture") == "llama");
    CHECK(gguf.text("general.type") == "model");
    CHECK(gguf.count("general.file_type") == 1);
    CHECK(gguf.count("llama.block_count") == config.num_hidden_layers);
    CHECK(gguf.count("llama.attention.head_count_kv") == config.num_key_value_heads);
    CHECK(gguf.count("llama.rope.dimension_count") == config.head_dim);
    CHECK(gguf.number("llama.rope.freq_base") == 10000);
    CHECK(gguf.text("tokenizer.ggml.model") == "llama");
    const std::vector<std::string>& tokens = gguf.texts("tokenizer.ggml.tokens");
    const std::vector<int64_t>& types = gguf.integers("tokenizer.ggml.token_type");
    const std::vector<float>& scores = gguf.numbers("tokenizer.ggml.scores");
    REQUIRE(std::ssize(tokens) == config.vocab_size);
    REQUIRE(types.size() == tokens.size());
    REQUIRE(scores.size() == tokens.size());
    CHECK(types[0] == 2);
    CHECK(types[1] == 3);
    CHECK(tokens[3] == "<0x00>");
    CHECK(types[3] == 6);
    CHECK(gguf.token("tokenizer.ggml.bos_token_id") == 1);
    CHECK(gguf.flag("tokenizer.ggml.add_bos_token") == true);
    CHECK(gguf.flag("tokenizer.ggml.add_space_prefix") == true);
    // What is merged first scores highest.
    const json merges = read_json(place.model / "tokenizer.json").at("model").at("merges");
    const auto score_of = [&](const json& merge) {
        std::string token = merge.is_array() ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                                             : merge.get<std::string>();
        token.erase(token.find(' '), 1);
        return scores[static_cast<size_t>(std::ranges::find(tokens, token) - tokens.begin())];
    };
    CHECK(score_of(merges[0]) > score_of(merges[1]));
    CHECK(score_of(merges[1]) > score_of(merges.back()));
    CHECK_FALSE(gguf.has("tokenizer.chat_template"));
}

TEST_CASE("merge to GGUF: Llama 3's rule for frequencies is a tensor of factors") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    change_config(model, "rope_scaling",
                  {{"rope_type", "llama3"},
                   {"factor", 8.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0},
                   {"original_max_position_embeddings", 64}});
    TrainOptions training = place.options(1);
    training.base.model = model;
    train(training);
    MergeOptions o = merging(place, place / "m.gguf");
    o.base.model = model;
    o.gguf = GgufType::f16;
    run_merge(o, {});
    const std::vector<double> factors = values_in(GgufFile(place / "m.gguf"), "rope_freqs.weight");
    REQUIRE(std::ssize(factors) == read_config(model).head_dim / 2);
    CHECK(factors.front() == doctest::Approx(1));
    CHECK(factors.back() == doctest::Approx(8));
    change_config(model, "rope_scaling", {{"rope_type", "yarn"}, {"factor", 8.0}});
    o.output = place / "yarn.gguf";
    check_contains(error_of([&] { run_merge(o, {}); }),
                   "RoPE of the kinds yarn and dynamic is not written as GGUF yet");
}

TEST_CASE("merge to GGUF: a byte-level vocabulary has its merges and the name of its way to cut words") {
    const auto root = fixtures();
    const fs::path folder = root ? *root / "data/tokenizers/llama3" : fs::path();
    if (!root || !fs::exists(folder / "tokenizer.json")) return skipped("Llama 3's tokenizer");
    LlamaConfig config;
    config.vocab_size = 128300;
    const Model model{folder, config, Tokenizer::load(folder / "tokenizer.json"), nullptr, {}};
    const TempDir dir;
    GgufEntries entries;
    add_vocabulary(model, entries);
    GgufOutput file(dir / "v.gguf", entries, {});
    file.commit();
    const GgufFile read(dir / "v.gguf");
    const Gguf& gguf = read.content();
    CHECK(gguf.text("tokenizer.ggml.model") == "gpt2");
    CHECK(gguf.text("tokenizer.ggml.pre") == "llama-bpe");
    const std::vector<std::string>& tokens = gguf.texts("tokenizer.ggml.tokens");
    REQUIRE(tokens.size() == 128300);
    CHECK(tokens[128000] == "<|begin_of_text|>");
    CHECK(gguf.integers("tokenizer.ggml.token_type")[128000] == 3);
    CHECK(tokens[128299] == "[PAD128299]");
    CHECK(gguf.integers("tokenizer.ggml.token_type")[128299] == 5);
    CHECK(gguf.texts("tokenizer.ggml.merges").size() > 280000);
    CHECK(gguf.flag("tokenizer.ggml.add_bos_token") == gguf.has("tokenizer.ggml.bos_token_id"));
}

TEST_CASE("merge to GGUF: the gguf package reads what is written, every type as it rounds itself") {
    const Workplace place;
    train(place.options(2));
    std::vector<fs::path> files;
    for (const GgufType type : {GgufType::f32, GgufType::f16, GgufType::bf16, GgufType::q8_0}) {
        files.push_back(place / (std::string(info(type).name) + ".gguf"));
        MergeOptions o = merging(place, files.back());
        o.gguf = type;
        run_merge(o, {});
    }
    const auto code = run_script("compare_with_gguf.py", files);
    if (!code) return skipped("the gguf package is not installed");
    CHECK(code == 0);
}

}  // namespace ggq::test
