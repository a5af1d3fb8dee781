// train_step: real training steps of a Llama shape with random weights, and where their time goes.
//
//   build/bin/train_step --shape llama-15m --tokens 4x256 --quant nf4 --steps 5 --profile
//
// Prints tokens/s, the share of the arithmetic ceiling measured in the same run (multiply-adds in float on the CPU,
// cuBLAS in bf16 on a GPU), and memory beside the plan. Counted is the arithmetic of products, and of attention over
// the keys that each query's document has before it; what is recomputed counts again where it is needed (see
// ggq/plan.h).
#include "bench/ceilings.h"
#include "bench/gpu_ceilings.h"
#include "bench/model_bench.h"
#include "bench/processor_time.h"
#include "bench/random_update.h"
#include "models/lora.h"
#include "models/train/engine.h"

namespace ggq::bench {

namespace {

struct Options : ModelOptions {
    std::string tokens = "4x256", recompute = "full";
    double dropout = 0.05;
    int64_t rank = 16;
    std::string train = "lora", optim = "adamw_8bit";
    int steps = 5, warm_up = 1;
    int64_t grad_accum = 1;
    bool together = false;  // the micro-batches of an update, layer by layer

    bool train_all() const { return chosen("--train", kTrainKinds, train) == TrainKind::full; }
};

struct Result {
    double seconds = 0;  // of all timed steps
    double processor_seconds = 0;
    int64_t n_tokens = 0;
    double flops = 0;
    double loss = 0;
    MemoryUse memory;
    int64_t allocated_bytes = 0;
    double peak_gib = 0;
    int64_t n_ops = 0, n_copies = 0;  // of all programs
    PageTraffic traffic;              // of all timed steps
    int32_t n_recomputed = 0;
    Duration estimate;
    Profile profile;
};

// "BxL": B documents of L tokens.
std::pair<int64_t, int64_t> parse_tokens(const std::string& text) {
    int64_t rows = 0, length = 0;
    char rest = 0;
    require(std::sscanf(text.c_str(), "%ldx%ld%c", &rows, &length, &rest) == 2 && rows > 0 && length > 1,
            "--tokens: expected BxL such as 4x256, got '{}'", text);
    return {rows, length};
}

// n micro-batches alike.
void repeat(Update& update, int64_t n) {
    update.micro_batches.resize(static_cast<size_t>(n), update.micro_batches[0]);
    update.n_samples *= n;
    update.n_tokens *= n;
    update.label_tokens *= n;
}

EngineOptions engine_options(const Options& o, int64_t rows, int64_t length, DType compute) {
    EngineOptions e;
    e.weights.compute_dtype = compute;
    e.weights.train_all = o.train_all();
    const OptimKind optim = chosen("--optim", kOptimKinds, o.optim);
    e.optimizer.eight_bit = is_8bit(optim);
    e.optimizer.pageable = is_paged(optim);
    if (!o.train_all()) {
        e.weights.quant = o.quant_dtype();
        LoraConfig lora;
        lora.r = o.rank;
        lora.alpha = static_cast<double>(2 * o.rank);
        lora.dropout = o.dropout;
        lora.target_pattern = std::string(kAllLinear);
        e.weights.lora = lora;
    }
    const auto recompute = find_recompute(o.recompute);
    require(recompute.has_value(), "--recompute: expected {}|partial:K, got '{}'", option_list(kRecomputes),
            o.recompute);
    e.recompute = *recompute;
    e.lengths = {rows * length};
    e.together = o.together ? o.grad_accum : 1;
    e.document = length;
    return e;
}

double mean_keys(const MicroBatch& batch) {
    int64_t keys = 0;
    for (size_t t = 0; t < batch.spans.size(); t += 2) keys += batch.spans[t + 1] - batch.spans[t];
    return static_cast<double>(keys) / static_cast<double>(batch.length());
}

Result measure(Backend& backend, const Model& model, const EngineOptions& options, const Update& update,
               const Options& o) {
    constexpr double kRate = 1e-4;
    ProgramSet set(backend);
    TrainEngine engine(set, model, options);
    Result r;
    set.fit();
    set.require_fits("take a smaller shape or fewer tokens");
    r.memory = set.memory();
    std::tie(r.n_ops, r.n_copies) = set.n_steps();
    set.allocate([&] {
        load_weights(set.store(), engine.llama(), *model.weights);
        if (!o.train_all()) fill_new_adapter(set.store(), engine.llama(), 1);
    });
    for (int i = 0; i < o.warm_up; ++i) engine.train(update, kRate);
    if (o.profile) engine.set_profile(&r.profile);
    const PageTraffic before = engine.traffic();
    const auto start = std::chrono::steady_clock::now();
    const double processor_start = processor_seconds();
    for (int i = 0; i < o.steps; ++i) r.loss = engine.train(update, kRate).loss;
    r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    r.processor_seconds = processor_seconds() - processor_start;
    r.profile.wall_seconds = r.seconds;  // of the whole step, what is outside of programs included
    r.n_tokens = o.steps * update.n_tokens;
    const Program& micro = o.together ? *engine.together_program() : engine.micro_program();
    r.flops = static_cast<double>(o.together ? o.steps : o.steps * o.grad_accum) *
              flops(micro.plan(), micro.graph(), mean_keys(update.micro_batches[0]));
    r.allocated_bytes = backend.memory().bytes;
    r.traffic = engine.traffic() - before;
    r.n_recomputed = micro.plan().n_recomputed;
    r.estimate = duration(micro.plan(), micro.graph(), backend.costs());
    r.peak_gib = peak_gib(backend);
    return r;
}

void run(const Options& o) {
    require(o.steps > 0, "--steps: expected 1 or more, got {}", o.steps);
    const auto [rows, length] = parse_tokens(o.tokens);
    const auto backend = o.backend();
    const bool on_gpu = !backend->reads_host_memory();
    const DType compute = compute_type(o.compute_dtype, *backend);
    const EngineOptions options = engine_options(o, rows, length, compute);
    const Model model = random_model(config_of_shape(o.shape, length), compute);
    Update update = random_update(rows, length, model.config.vocab_size);
    repeat(update, o.grad_accum);
    const Result r = measure(*backend, model, options, update, o);
    const GpuCeilings gpu = on_gpu ? measure_gpu(*backend) : GpuCeilings{};  // now that the model is gone
    const double peak = on_gpu ? gpu.flops : measure_flops();
    nlohmann::ordered_json result = {{"device", backend->description()},
                                     {"shape", o.shape},
                                     {"tokens", o.tokens},
                                     {"quant", o.quant},
                                     {"recompute", o.recompute},
                                     {"compute_dtype", name(compute)},
                                     {"tokens_per_second", static_cast<double>(r.n_tokens) / r.seconds},
                                     {"tflops", r.flops / r.seconds * 1e-12},
                                     {"ceiling_tflops", peak * 1e-12},
                                     {"share_of_ceiling", peak > 0 ? r.flops / r.seconds / peak : 0},
                                     {"plan_bytes", r.memory.total()},
                                     {"allocated_bytes", r.allocated_bytes},
                                     {"weights_bytes", r.memory.weights},
                                     {"trained_bytes", r.memory.parameters + r.memory.state},
                                     {"arena_bytes", r.memory.arena},
                                     {"overhead_bytes", backend->overhead_bytes()},
                                     {"ops", r.n_ops},
                                     {"copies", r.n_copies},
                                     {"planned_overhead_bytes", r.memory.overhead},
                                     {"host_bytes", backend->host_memory().peak_bytes},
                                     {"bytes_in", r.traffic.bytes_in / o.steps},
                                     {"bytes_out", r.traffic.bytes_out / o.steps},
                                     {"stalls", r.traffic.stalls / o.steps},
                                     {"stalled_seconds", r.traffic.stalled_seconds / o.steps},
                                     {"recomputed_steps", r.n_recomputed},
                                     {"estimated_seconds", r.estimate.seconds},
                                     {"estimated_stall", r.estimate.stalled},
                                     {"seconds", r.seconds / o.steps},
                                     {"processor_seconds", r.processor_seconds / o.steps},
                                     {"peak_gib", r.peak_gib},
                                     {"loss", r.loss}};
    if (on_gpu) result["ceiling_copy_tb_s"] = gpu.copy * 1e-12;
    if (o.profile) result["outside_kernels"] = 1 - r.profile.kernel_seconds / r.seconds;
    print(result, r.profile, o);
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    ggq::bench::Options o;
    CLI::App app("Training steps of a Llama shape with random weights", "train_step");
    add_flags(app, o);
    app.add_option("--tokens", o.tokens, "documents x length")->capture_default_str();
    app.add_option("--grad-accum", o.grad_accum, "micro-batches in an update")->capture_default_str();
    app.add_flag("--together", o.together, "run them layer by layer");
    app.add_option("--recompute", o.recompute, "auto, none, selective, full or partial:K")->capture_default_str();
    app.add_option("--lora-dropout", o.dropout)->capture_default_str();
    app.add_option("--lora-r", o.rank)->capture_default_str();
    app.add_option("--train", o.train, "lora or full")->capture_default_str();
    app.add_option("--optim", o.optim, ggq::option_list(ggq::kOptimKinds))->capture_default_str();
    app.add_option("--steps", o.steps, "timed steps")->capture_default_str();
    app.add_option("--warm-up", o.warm_up, "steps before them")->capture_default_str();
    return ggq::bench::run_bench(app, argc, argv, [&] { ggq::bench::run(o); });
}
