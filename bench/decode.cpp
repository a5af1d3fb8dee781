// decode: tokens per second of greedy generation, batch 1, with a Llama shape of random weights.
//
//   build/bin/decode --shape llama3-8b --quant nf4 --prompt 128 --new 256
//
// Prints tokens/s, the bytes of weights that a token reads as a share of the copy rate measured in the same run, and
// memory.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/ceilings.h"
#include "bench/gpu_ceilings.h"
#include "bench/random_model.h"
#include "models/generate/generator.h"

namespace ggq::bench {

namespace {

struct Options {
    std::string shape = "llama-15m", quant = "nf4", device = "auto", compute_dtype = "auto";
    int64_t prompt = 128, n_new = 256;
    int threads = 0;
    bool profile = false, json = false;
};

int run(const Options& o) {
    const auto backend = make_backend({.device = o.device, .threads = o.threads});
    const bool on_gpu = !backend->reads_host_memory();
    const GpuCeilings gpu = on_gpu ? measure_gpu(*backend) : GpuCeilings{};
    const int64_t context = o.prompt + o.n_new + 1;
    const LlamaConfig config = config_of_shape(o.shape, context);
    WeightChoice choice;
    const auto quant = find_option(kQuantNames, o.quant);
    require(quant.has_value(), "--quant: expected one of {}, got '{}'", option_list(kQuantNames), o.quant);
    choice.quant = *quant;
    choice.compute = compute_type(o.compute_dtype, *backend);
    Store store(*backend);
    const auto llama = declare_llama(
        store, config, choice, on_gpu ? checkpoint_dtypes(config, choice.compute) : std::map<std::string, DType>{}, {});
    Generator generator(*backend, store, *llama, {context, choice.compute});
    store.allocate();
    const Arena arena(*backend, generator.arena_bytes());
    generator.bind(arena);
    fill_random(store, *llama);
    generator.prepare();

    Profile profile;
    const std::vector<int32_t> prompt(static_cast<size_t>(o.prompt), 1);
    GenerationOptions g;
    g.sampler.temperature = 0;
    g.max_new_tokens = o.n_new;
    std::chrono::steady_clock::time_point start, first;
    double prompt_seconds = 0, seconds = 1e30;
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second one is warm
        first = {};
        start = std::chrono::steady_clock::now();
        generator.set_profile(o.profile && repeat == 1 ? &profile : nullptr);
        generator.generate(prompt, g, [&](int32_t) {
            if (first == std::chrono::steady_clock::time_point{}) first = std::chrono::steady_clock::now();
            return true;
        });
        prompt_seconds = std::chrono::duration<double>(first - start).count();
        seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - first).count();
    }
    // The embedding is read by the row; with tied weights the table is the head.
    const int64_t embedding = config.tie_word_embeddings ? 0 : llama->embedding->bytes();
    const double per_token = static_cast<double>(store.bytes(Kind::constant) - embedding);
    const double rate = static_cast<double>(o.n_new - 1) / seconds;
    nlohmann::ordered_json json = {
        {"device", backend->description()},
        {"shape", o.shape},
        {"quant", o.quant},
        {"compute_dtype", name(choice.compute)},
        {"tokens_per_second", rate},
        {"prompt_tokens_per_second", static_cast<double>(o.prompt) / prompt_seconds},
        {"weight_gb_per_token", per_token * 1e-9},
        {"weight_gb_s", rate * per_token * 1e-9},
        {"ceiling_gb_s", (on_gpu ? gpu.copy : measure_read_bandwidth()) * 1e-9},
        {"peak_gib", static_cast<double>(backend->memory().peak_bytes + backend->overhead_bytes()) / (1 << 30)}};
    if (o.profile && !o.json) std::cout << profile.table();
    for (const auto& [key, value] : json.items())
        if (!o.json) std::cout << key << ": " << value << '\n';
    if (o.json) std::cout << json.dump() << '\n';
    return 0;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    ggq::bench::Options o;
    CLI::App app("Greedy generation, batch 1, with a Llama shape of random weights");
    app.add_option("--shape", o.shape, "llama-15m, llama3.2-1b, llama2-7b, llama3-8b, llama3-70b")
        ->capture_default_str();
    app.add_option("--quant", o.quant, "nf4, fp4, int8 or none")->capture_default_str();
    app.add_option("--prompt", o.prompt, "tokens of the prompt")->capture_default_str();
    app.add_option("--new", o.n_new, "tokens to generate")->capture_default_str();
    app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    app.add_option("--compute-dtype", o.compute_dtype, "auto, bf16, f16 or f32")->capture_default_str();
    app.add_option("--threads", o.threads, "0: every core")->capture_default_str();
    app.add_flag("--profile", o.profile, "time an op");
    app.add_flag("--json", o.json, "one line of JSON");
    CLI11_PARSE(app, argc, argv);
    try {
        return ggq::bench::run(o);
    } catch (const std::exception& e) {
        std::cerr << "decode: " << e.what() << '\n';
        return 1;
    }
}
