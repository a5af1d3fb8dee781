// decode: tokens per second of greedy generation, batch 1, with a Llama shape of random weights.
//
//   build/bin/decode --shape llama3-8b --quant nf4 --prompt 128 --new 256
//
// Prints tokens/s, the bytes of weights that a token reads as a share of the copy rate measured in the same run, and
// memory.
#include "bench/ceilings.h"
#include "bench/gpu_ceilings.h"
#include "bench/model_bench.h"
#include "models/generate/generator.h"

namespace ggq::bench {

namespace {

struct Options : ModelOptions {
    int64_t prompt = 128, n_new = 256;
};

void run(const Options& o) {
    const auto backend = o.backend();
    const bool on_gpu = !backend->reads_host_memory();
    const int64_t context = o.prompt + o.n_new + 1;
    const LlamaConfig config = config_of_shape(o.shape, context);
    WeightChoice choice;
    choice.quant = o.quant_dtype();
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
    const double gib = peak_gib(*backend);
    const double ceiling = on_gpu ? measure_gpu(*backend).copy : measure_read_bandwidth();
    const nlohmann::ordered_json result = {{"device", backend->description()},
                                           {"shape", o.shape},
                                           {"quant", o.quant},
                                           {"compute_dtype", name(choice.compute)},
                                           {"tokens_per_second", rate},
                                           {"prompt_tokens_per_second", static_cast<double>(o.prompt) / prompt_seconds},
                                           {"weight_gb_per_token", per_token * 1e-9},
                                           {"weight_gb_s", rate * per_token * 1e-9},
                                           {"ceiling_gb_s", ceiling * 1e-9},
                                           {"peak_gib", gib}};
    print(result, profile, o);
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    ggq::bench::Options o;
    CLI::App app("Greedy generation, batch 1, with a Llama shape of random weights", "decode");
    add_flags(app, o);
    app.add_option("--prompt", o.prompt, "tokens of the prompt")->capture_default_str();
    app.add_option("--new", o.n_new, "tokens to generate")->capture_default_str();
    return ggq::bench::run_bench(app, argc, argv, [&] { ggq::bench::run(o); });
}
