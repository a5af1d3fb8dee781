// costs: measures on this device what the planner weighs work by, as rows for ggq/gpu_table.cpp.
//
//   build/bin/costs --device cuda
//
// A micro-batch of 8,192 tokens through four layers of an 8B tells what an op reaches: of the arithmetic or of the
// bytes a second, whichever is nearer to the most that any op reaches. One of 512 tokens tells what a call takes beside
// its work. Both are timed step by step, less what the shortest op takes so, which is the host's part. Copies are of
// 256 MiB of pinned memory, the best of five.
#include <algorithm>

#include "bench/model_bench.h"
#include "bench/random_update.h"
#include "models/lora.h"
#include "models/train/engine.h"

namespace ggq::bench {

namespace {

constexpr const char* kShape = "4096:14336:4:32:8:128:32000";
// The ops with a row of their own: those in which a step spends its time, and those far from the rates of the rest.
constexpr const char* kOps[] = {"lora_linear", "lora_linear_backward", "attention", "attention_backward", "rope",
                                "rms_norm"};

EngineOptions engine_options(Backend& backend, int64_t rows, int64_t length) {
    EngineOptions e;
    e.weights.compute_dtype = backend.compute_dtype();
    e.weights.quant = DType::nf4;
    LoraConfig lora;
    lora.r = 16;
    lora.dropout = 0.05;
    lora.target_pattern = std::string(kAllLinear);
    e.weights.lora = lora;
    e.recompute = Recompute::none;
    e.lengths = {rows * length};
    e.document = length;
    return e;
}

Profile profile_of(Backend& backend, int64_t rows, int64_t length) {
    const DType compute = backend.compute_dtype();
    const Model model = random_model(config_of_shape(kShape, length), compute);
    ProgramSet set(backend);
    TrainEngine engine(set, model, engine_options(backend, rows, length));
    set.fit();
    set.require_fits("take a card with more free memory");
    set.allocate([&] {
        load_weights(set.store(), engine.llama(), *model.weights);
        fill_new_adapter(set.store(), engine.llama(), 1);
    });
    const Update update = random_update(rows, length, model.config.vocab_size);
    engine.add_gradients(update);  // warm-up
    Profile profile;
    engine.set_profile(&profile);
    for (int i = 0; i < 5; ++i) engine.add_gradients(update);
    return profile;
}

// Of a call, the host's part taken away.
struct OpTime {
    double seconds = 0, flops = 0, bytes = 0;
};

double host_seconds(const Profile& p) {
    double least = 1;
    for (const auto& [op, row] : p.rows) least = std::min(least, row.seconds / static_cast<double>(row.calls));
    return least;
}

OpTime time_of(const Profile& p, const std::string& op, double host) {
    const Profile::Row& row = p.rows.at(op);
    const auto n = static_cast<double>(row.calls);
    return {std::max(row.seconds / n - host, 1e-7), row.flops / n, row.bytes / n};
}

// All that have no row.
OpTime rest_of(const Profile& p, double host) {
    OpTime sum;
    for (const auto& [op, row] : p.rows) {
        if (std::ranges::find(kOps, op) != std::end(kOps)) continue;
        const OpTime t = time_of(p, op, host);
        const auto n = static_cast<double>(row.calls);
        sum.seconds += n * t.seconds, sum.bytes += n * t.bytes;
    }
    return sum;
}

// Seconds for a copy of `bytes` one way, the best of five.
double copy_seconds(Backend& backend, Lane lane, int64_t bytes) {
    void* const device = backend.allocate(bytes);
    void* const host = backend.allocate_host(bytes);
    double best = 1;
    for (int i = 0; i < 5; ++i) {
        backend.stamp(lane, 0);
        backend.copy(lane, lane == Lane::in ? device : host, lane == Lane::in ? host : device, bytes);
        backend.stamp(lane, 1);
        backend.synchronize();
        best = std::min(best, backend.seconds_between(0, 1));
    }
    backend.release_host(host, bytes);
    backend.release(device, bytes);
    return best;
}

void run(const ModelOptions& o) {
    constexpr int64_t kCopy = 256 << 20;
    const auto backend = o.backend();
    require(!backend->reads_host_memory(), "--device: expected a GPU, got {}", backend->description());
    const Profile large = profile_of(*backend, 4, 2048), small = profile_of(*backend, 1, 512);
    const double host_large = host_seconds(large), host_small = host_seconds(small);
    double most_flops = 0, most_bytes = 0;
    for (const char* op : kOps) {
        const OpTime t = time_of(large, op, host_large);
        most_flops = std::max(most_flops, t.flops / t.seconds), most_bytes = std::max(most_bytes, t.bytes / t.seconds);
    }
    const OpTime rest = rest_of(large, host_large);
    const double rest_bytes = rest.bytes / rest.seconds;
    fmt::print("// {}\n", backend->description());
    fmt::print("c.rest = {{\"\", {:.0f}e12, {:.2f}e12, 3e-6}};\n", most_flops * 1e-12, rest_bytes * 1e-12);
    fmt::print("c.copy_in = {:.1f}e9;\n", kCopy / copy_seconds(*backend, Lane::in, kCopy) * 1e-9);
    fmt::print("c.copy_out = {:.1f}e9;\nc.ops = {{\n", kCopy / copy_seconds(*backend, Lane::out, kCopy) * 1e-9);
    for (const char* op : kOps) {
        const OpTime t = time_of(large, op, host_large), s = time_of(small, op, host_small);
        // The rate that does not bind is the most seen.
        const bool by_flops = t.flops / most_flops > t.bytes / std::max(most_bytes, rest_bytes);
        const double flops = by_flops ? t.flops / t.seconds : most_flops;
        const double bytes = by_flops ? std::max(most_bytes, rest_bytes) : t.bytes / t.seconds;
        const double start = std::max(3e-6, s.seconds - std::max(s.flops / flops, s.bytes / bytes));
        fmt::print("    {{\"{}\", {:.0f}e12, {:.2f}e12, {:.0f}e-6}},\n", op, flops * 1e-12, bytes * 1e-12, start * 1e6);
    }
    fmt::print("}};\n");
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    ggq::bench::ModelOptions o;
    CLI::App app("Rates of this device for the planner", "costs");
    app.add_option("--device", o.device, "cuda or cuda:N")->capture_default_str();
    return ggq::bench::run_bench(app, argc, argv, [&] { ggq::bench::run(o); });
}
