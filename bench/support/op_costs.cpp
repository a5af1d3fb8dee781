#include "bench/support/op_costs.h"

#include <algorithm>
#include <map>

#include "bench/ceilings.h"
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

EngineOptions engine_options(const Backend& backend, int64_t length) {
    EngineOptions e;
    e.weights.compute_dtype = backend.compute_dtype();
    e.weights.quant = DType::nf4;
    LoraConfig lora;
    lora.r = 16;
    lora.dropout = 0.05;
    lora.target_pattern = std::string(kAllLinear);
    e.weights.lora = lora;
    e.recompute = Recompute::none;
    e.lengths = {length};
    e.document = length;
    e.restores = false;  // a product's costs are those with what it restores
    return e;
}

struct Timed {
    Profile profile;     // of kRuns micro-batches, step by step
    double seconds = 0;  // of one, as training runs it
};

constexpr int kRuns = 5;

Timed timed(Backend& backend, int64_t length) {
    const DType compute = backend.compute_dtype();
    const Model model = random_model(config_of_shape(kShape, length), compute);
    ProgramSet set(backend);
    TrainEngine engine(set, model, engine_options(backend, length));
    set.fit();
    set.require_fits("take a card with more free memory");
    set.allocate([&] {
        load_weights(set.store(), engine.llama(), *model.weights);
        fill_new_adapter(set.store(), engine.llama(), 1);
    });
    const Update update = random_update(1, length, model.config.vocab_size);
    const auto run = [&] {
        for (int i = 0; i < kRuns; ++i) engine.add_gradients(update);
    };
    run();  // warm-up
    Timed t;
    t.seconds = seconds(run) / kRuns;
    engine.set_profile(&t.profile);
    run();
    return t;
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

// The rates of the ops on many tokens; what binds an op is what takes the larger share of the most that any reaches.
std::vector<Costs::Rate> rates(const Profile& large) {
    const double host = host_seconds(large);
    const OpTime rest = rest_of(large, host);
    double most_flops = 0, most_bytes = rest.bytes / rest.seconds;
    for (const char* op : kOps) {
        const OpTime t = time_of(large, op, host);
        most_flops = std::max(most_flops, t.flops / t.seconds), most_bytes = std::max(most_bytes, t.bytes / t.seconds);
    }
    std::vector<Costs::Rate> rows = {{.op = "", .flops = most_flops, .bytes = rest.bytes / rest.seconds}};
    for (const char* op : kOps) {
        const OpTime t = time_of(large, op, host);
        const bool by_flops = t.flops / most_flops > t.bytes / most_bytes;
        rows.push_back({.op = op,
                        .flops = by_flops ? t.flops / t.seconds : most_flops,
                        .bytes = by_flops ? most_bytes : t.bytes / t.seconds});
    }
    return rows;
}

// What a call takes beside its work, from few tokens.
void add_starts(std::vector<Costs::Rate>& rows, const Timed& small) {
    const double host = host_seconds(small.profile);
    double work = 0, starts = 0;
    std::map<std::string, std::pair<double, double>> sum_and_calls;  // by the row's op
    for (const auto& [op, row] : small.profile.rows) {
        const auto listed = std::ranges::find(rows, op, &Costs::Rate::op);
        const Costs::Rate& rate = listed == rows.end() ? rows.front() : *listed;
        const OpTime t = time_of(small.profile, op, host);
        const double of_work = std::max(t.flops / rate.flops, t.bytes / rate.bytes);
        const double calls = static_cast<double>(row.calls) / kRuns, start = std::max(0.0, t.seconds - of_work);
        work += calls * of_work, starts += calls * start;
        auto& [sum, n] = sum_and_calls[rate.op];
        sum += calls * start, n += calls;
    }
    const double scale = starts > 0 ? std::clamp((small.seconds - work) / starts, 0.0, 1.0) : 0;
    for (Costs::Rate& row : rows) {
        const auto [sum, n] = sum_and_calls[row.op];
        if (n > 0) row.start = scale * sum / n;
    }
}

}  // namespace

Costs measured_costs(Backend& backend) {
    constexpr int64_t kCopy = 256 << 20;
    std::vector<Costs::Rate> rows = rates(timed(backend, 8192).profile);
    add_starts(rows, timed(backend, 512));
    Costs c;
    c.rest = rows.front();
    c.ops.assign(rows.begin() + 1, rows.end());
    c.copy_in = kCopy / copy_seconds(backend, Lane::in, kCopy);
    c.copy_out = kCopy / copy_seconds(backend, Lane::out, kCopy);
    return c;
}

}  // namespace ggq::bench
