// generate --plan: what it prints, that it reads no weights, and what it says where a generation does not fit.
#include <doctest/doctest.h>

#include <fstream>

#include "ggq/io/atomic_file.h"
#include "ggq/io/safetensors.h"
#include "models/config.h"
#include "models/weights.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

using Args = std::vector<std::string>;

// NaN from the last tenth on, which loading refuses.
void damage(const fs::path& weights) {
    std::fstream file(weights, std::ios::binary | std::ios::in | std::ios::out);
    const auto n_bytes = static_cast<std::streamoff>(fs::file_size(weights));
    const std::string nan(static_cast<size_t>(n_bytes / 10), '\xff');
    file.seekp(n_bytes - std::ssize(nan));
    file.write(nan.data(), std::ssize(nan));
}

// In the place of the model in `folder`: one whose keys and values of many tokens no machine holds.
void make_wide_model(const fs::path& folder) {
    LlamaConfig c = read_config(folder);
    c.max_position_embeddings = 16777216;
    c.hidden_size = 8;
    c.num_hidden_layers = 16;
    c.num_attention_heads = c.num_key_value_heads = 64;
    c.head_dim = 128;
    FileTensors tensors;
    int64_t largest = 0;
    for (const WeightRow& row : weight_rows(c)) {
        tensors[row.name] = {nullptr, DType::f32, row.shape};
        largest = std::max(largest, tensors[row.name].n_bytes());
    }
    const std::vector<std::byte> zeros(static_cast<size_t>(largest));
    write_safetensors(folder / "model.safetensors", tensors, [&](std::string_view) { return zeros.data(); });
    write_file(folder / "config.json", config_text(c));
}

Args plan_args(const fs::path& model) {
    return {"--model", model, "--device", "cpu", "--quiet", "--plan", "--max-length", "128"};
}

}  // namespace

TEST_CASE("generation plan: printed without a prompt, and without reading weights or those that an adapter knows") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.base.model = place.copy_of_model();
    train(options);
    damage(fs::path(options.base.model) / "model.safetensors");

    Args args = plan_args(options.base.model);
    const ProgramRun plain = run_binary("generate", args);
    CHECK(plain.code == 0);
    CHECK(plain.err == "");
    CHECK(plain.out.starts_with("memory:\n  weights, frozen "));
    for (const char* part : {"\n  KV cache of 128 tokens ", "\n  arena, at its fullest ", "\n    temporaries ",
                             "\n  peak ", "\n  prefill ", "\n  decode ", "\nquantized weights: "})
        check_contains(plain.out, part);
    CHECK(plain.out.find("\n  adapter ") == std::string::npos);

    args.insert(args.end(), {"--adapter", place.out});
    const ProgramRun adapted = run_binary("generate", args);
    CHECK(adapted.code == 0);
    CHECK(adapted.err == "");
    check_contains(adapted.out, "\n  adapter ");

    const ProgramRun run = run_binary("generate", {"--model", options.base.model, "--device", "cpu", "--quiet",
                                                   "--prompt", "Once", "--adapter", place.out});
    CHECK(run.code == 1);
    check_contains(run.err, "the adapter was trained on another base");
    check_contains(run.err, "NaN");
}

TEST_CASE("generation plan: its sum is what a run then takes") {
    const Workplace place;
    GenerateOptions options = greedy(place.model, "Once upon a time");
    const Generated run = generate(options);
    options.plan = true;
    const Generated plan = generate(options);
    CHECK(plan.text == "");
    CHECK(plan.notes == run.notes);  // prompt, context, MiB
}

TEST_CASE("generation plan: what does not fit is printed too, and refused in one sentence") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    make_wide_model(model);
    CHECK(run_binary("generate", plan_args(model)).code == 0);
    Args args = plan_args(model);
    args.back() = "16777216";
    const ProgramRun run = run_binary("generate", args);
    CHECK(run.code == 1);
    check_contains(run.out, "\n  peak ");
    CHECK(run.err.starts_with("generate: memory: the plan needs "));
    CHECK(run.err.ends_with(" MiB too few; use a shorter context\n"));
}

TEST_CASE("generation plan: a run without a plan still needs a prompt") {
    const Workplace place;
    const ProgramRun run = run_binary("generate", {"--model", place.model});
    CHECK(run.code == 2);
    check_contains(run.err, "--prompt TEXT is missing");
}

}  // namespace ggq::test
