// decode: tokens per second of generation, greedy or with sampling, with a Llama shape of random weights; of a batch,
// of all sequences, the steps alone.
//
//   build/bin/decode --shape llama3-8b --quant nf4 --prompt 128 --new 256 --lora-r 16
//   build/bin/decode --shape llama3-8b --batch 8
//
// Prints tokens/s, the bytes of weights that a token reads as a share of the copy rate measured in the same run, and
// memory.
#include "bench/batch_decoder.h"
#include "bench/ceilings.h"
#include "bench/gpu_ceilings.h"
#include "bench/model_bench.h"
#include "bench/processor_time.h"
#include "models/generate/generator.h"
#include "models/lora.h"

namespace ggq::bench {

namespace {

struct Options : ModelOptions {
    int64_t prompt = 128, n_new = 256;
    int64_t rank = 0;   // of an adapter on all linear layers; 0: none
    int64_t batch = 1;  // sequences at a time
    bool sample = false;
};

struct Result {
    double rate = 0, prompt_rate = 0;  // tokens per second
    double processor_seconds = 0;      // a token, of all threads
    double bytes_per_token = 0;        // of weights
    int64_t plan_bytes = 0;
    double peak_gib = 0;
    Profile profile;
};

Result measure(Backend& backend, const WeightChoice& choice, const Options& o) {
    const int64_t context = o.prompt + o.n_new + 1;
    const Model model = random_model(config_of_shape(o.shape, context), choice.compute());
    ProgramSet set(backend);
    const auto llama = declare_llama(set.store(), model, choice);
    Generator generator(set, *llama, {context, choice.compute()});
    Result r;
    r.plan_bytes = set.memory().total();
    set.fit();
    set.require_fits("take a smaller shape or a shorter context");
    set.allocate([&] { load_weights(set.store(), *llama, *model.weights); });
    fill_new_adapter(set.store(), *llama, 1);

    const std::vector<int32_t> prompt(static_cast<size_t>(o.prompt), 1);
    GenerationOptions g;
    if (!o.sample) g.sampler.temperature = 0;
    g.max_new_tokens = o.n_new;
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second one is warm
        std::chrono::steady_clock::time_point first{};
        double processor_first = 0;
        const auto start = std::chrono::steady_clock::now();
        generator.set_profile(o.profile && repeat == 1 ? &r.profile : nullptr);
        generator.generate(prompt, g, [&](int32_t) {
            if (first != std::chrono::steady_clock::time_point{}) return true;
            first = std::chrono::steady_clock::now();
            processor_first = processor_seconds();
            return true;
        });
        const auto seconds = [](auto time) { return std::chrono::duration<double>(time).count(); };
        r.prompt_rate = static_cast<double>(o.prompt) / seconds(first - start);
        r.rate = static_cast<double>(o.n_new - 1) / seconds(std::chrono::steady_clock::now() - first);
        r.processor_seconds = (processor_seconds() - processor_first) / static_cast<double>(o.n_new - 1);
    }
    // The embedding is read by the row; with tied weights the table is the head.
    const int64_t embedding = model.config.tie_word_embeddings ? 0 : llama->embedding->bytes();
    r.bytes_per_token = static_cast<double>(set.store().bytes(Kind::constant) - embedding);
    r.peak_gib = peak_gib(backend);
    return r;
}

// Sequences that are beyond their prompts, whose keys and values are zeros.
Result measure_batch(Backend& backend, const WeightChoice& choice, const Options& o) {
    const int64_t context = o.prompt + o.n_new + 1;
    const Model model = random_model(config_of_shape(o.shape, context), choice.compute());
    ProgramSet set(backend);
    const auto llama = declare_llama(set.store(), model, choice);
    BatchDecoder decoder(set, *llama, o.batch, context, choice.compute());
    Result r;
    r.plan_bytes = set.memory().total();
    set.fit();
    set.require_fits("take a smaller shape, batch or context");
    set.allocate([&] { load_weights(set.store(), *llama, *model.weights); });
    fill_new_adapter(set.store(), *llama, 1);
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second one is warm
        backend.synchronize();
        const auto start = std::chrono::steady_clock::now();
        const double processor_start = processor_seconds();
        for (int64_t i = 0; i < o.n_new; ++i)
            decoder.step(o.prompt + i, o.profile && repeat == 1 ? &r.profile : nullptr);
        backend.synchronize();
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        const auto n_tokens = static_cast<double>(o.n_new * o.batch);
        r.rate = n_tokens / seconds;
        r.processor_seconds = (processor_seconds() - processor_start) / n_tokens;
    }
    const int64_t embedding = model.config.tie_word_embeddings ? 0 : llama->embedding->bytes();
    r.bytes_per_token =
        static_cast<double>(set.store().bytes(Kind::constant) - embedding) / static_cast<double>(o.batch);
    r.peak_gib = peak_gib(backend);
    return r;
}

void run(const Options& o) {
    require(o.batch > 0, "--batch: expected 1 sequence at least, got {}", o.batch);
    require(o.prompt > 0 && o.n_new > 1, "--prompt, --new: expected 1 and 2 tokens at least, got {} and {}", o.prompt,
            o.n_new);
    const auto backend = o.backend();
    WeightChoice choice;
    choice.quant = o.quant_dtype();
    choice.compute_dtype = compute_type(o.compute_dtype, *backend);
    if (o.rank > 0) {
        choice.lora.emplace();
        choice.adapter_dtype = choice.compute();  // as generate has it
        choice.lora->r = o.rank;
        choice.lora->alpha = static_cast<double>(2 * o.rank);
        choice.lora->target_pattern = std::string(kAllLinear);
    }
    const Result r = o.batch > 1 ? measure_batch(*backend, choice, o) : measure(*backend, choice, o);
    const double ceiling = backend->reads_host_memory() ? measure_read_bandwidth() : measure_gpu(*backend).copy;
    const nlohmann::ordered_json result = {{"device", backend->description()},
                                           {"shape", o.shape},
                                           {"quant", o.quant},
                                           {"lora_r", o.rank},
                                           {"sample", o.sample},
                                           {"batch", o.batch},
                                           {"compute_dtype", name(choice.compute())},
                                           {"tokens_per_second", r.rate},
                                           {"prompt_tokens_per_second", r.prompt_rate},
                                           {"processor_ms_per_token", 1e3 * r.processor_seconds},
                                           {"weight_gb_per_token", r.bytes_per_token * 1e-9},
                                           {"weight_gb_s", r.rate * r.bytes_per_token * 1e-9},
                                           {"ceiling_gb_s", ceiling * 1e-9},
                                           {"share_of_ceiling", r.rate * r.bytes_per_token / ceiling},
                                           {"plan_bytes", r.plan_bytes},
                                           {"peak_gib", r.peak_gib}};
    print(result, r.profile, o);
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    ggq::bench::Options o;
    CLI::App app("Generation with a Llama shape of random weights", "decode");
    add_flags(app, o);
    app.add_option("--prompt", o.prompt, "tokens of the prompt")->capture_default_str();
    app.add_option("--batch", o.batch, "sequences that are generated at a time")->capture_default_str();
    app.add_option("--lora-r", o.rank, "rank of an adapter on all linear layers; 0: none")->capture_default_str();
    app.add_flag("--sample", o.sample, "draw tokens as `generate` does by default; else the likeliest");
    app.add_option("--new", o.n_new, "tokens to generate")->capture_default_str();
    return ggq::bench::run_bench(app, argc, argv, [&] { ggq::bench::run(o); });
}
