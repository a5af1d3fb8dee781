#include "bench/support/harness.h"

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <optional>
#include <string_view>

#include "bench/gpu_ceilings.h"
#include "bench/support/reference.h"
#include "bench/support/round.h"
#include "bench/support/table_reporter.h"
#include "ggq/device.h"
#include "ggq/error.h"

namespace ggq::bench {

namespace {

// A second, what a case's rates are shares of: bytes read (and on a GPU written), multiply-adds by the device's best.
struct Ceiling {
    double bytes = 0, flops = 0;
};

Ceiling measured_ceiling(Backend& backend) {
    if (backend.reads_host_memory()) return {measure_read_bandwidth(), measure_flops()};
    const GpuCeilings gpu = measure_gpu(backend);
    return {gpu.copy, gpu.flops};
}

// Of rounds that together take so long.
double median_seconds(Round& round, double least = 0.1) {
    std::vector<double> times;
    for (double total = 0; total < least || times.size() < 3; total += times.back()) times.push_back(round.seconds());
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
    return times[times.size() / 2] / static_cast<double>(round.n_calls());
}

// Times cases, one after the other. Google Benchmark calls a case several times in a row, so the last one stays bound.
class Timer {
public:
    explicit Timer(Backend& backend) : backend_(backend) {}

    void measure_ceiling() { ceiling_ = measured_ceiling(backend_); }
    const Ceiling& ceiling() const { return ceiling_; }

    void time(benchmark::State& state, const Case& c) {
        try {
            if (last_ != &c) prepare(c);
            while (state.KeepRunningBatch(round_->n_calls())) {
                const double seconds = round_->seconds();
                state.SetIterationTime(seconds);
            }
            report(state, c);
        } catch (const std::exception& e) {
            last_ = nullptr;
            state.SkipWithError(e.what());
        }
    }

private:
    void prepare(const Case& c) {
        last_ = nullptr;
        round_.reset();
        call_.reset();
        for (const Baseline& b : c.baselines)
            for (const Measurement& part : b.parts)
                if (!measured_.contains(part.key)) measured_[part.key] = part.seconds(backend_);
        call_.emplace(backend_, c.call);
        const std::string problem = problem_with(*call_, c.call);
        require(problem.empty(), "{}; run make test", problem);
        round_.emplace(*call_);
        last_ = &c;
    }

    // 0 where one of them is missing.
    double seconds_of_parts(const Baseline& b) const {
        double sum = 0;
        for (const Measurement& part : b.parts) {
            if (measured_.at(part.key) <= 0) return 0;
            sum += measured_.at(part.key);
        }
        return sum;
    }

    void report(benchmark::State& state, const Case& c) const {
        using benchmark::Counter;
        const auto rate = [&](const std::string& name, double amount) {
            if (amount > 0) state.counters[name] = Counter(amount, Counter::kIsIterationInvariantRate);
        };
        rate("GB/s", call_->bytes() * 1e-9);
        rate("TFLOP/s", call_->flops() * 1e-12);
        if (ceiling_.bytes > 0) rate("%bytes", 100 * call_->bytes() / ceiling_.bytes);
        if (ceiling_.flops > 0) rate("%flops", 100 * call_->flops() / ceiling_.flops);
        for (const Baseline& b : c.baselines) rate("x " + b.name, seconds_of_parts(b));
    }

    Backend& backend_;
    Ceiling ceiling_;
    std::map<std::string, double> measured_;  // seconds by key
    const Case* last_ = nullptr;
    std::optional<BoundCall> call_;
    std::optional<Round> round_;
};

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// What a file of results is named by: "NVIDIA H200" of "cuda:0, NVIDIA H200, ...", all of a CPU.
std::string card_of(const Backend& backend) {
    std::string text = backend.description();
    if (backend.reads_host_memory()) return text;
    const size_t begin = text.find(", ") + 2;
    return text.substr(begin, text.find(", ", begin) - begin);
}

// Stands in every JSON file.
void add_context(const std::string& family, const Backend& backend, const Ceiling& ceiling) {
    const CudaInfo cuda = cuda_info();
    benchmark::AddCustomContext("family", family);
    benchmark::AddCustomContext("device", backend.description());
    benchmark::AddCustomContext("card", card_of(backend));
    benchmark::AddCustomContext("ceiling_gb_s", fmt::format("{:.1f}", ceiling.bytes * 1e-9));
    benchmark::AddCustomContext("ceiling_tflops", fmt::format("{:.3f}", ceiling.flops * 1e-12));
    if (backend.reads_host_memory()) return;
    benchmark::AddCustomContext("driver_cuda", version_text(cuda.driver_version));
    benchmark::AddCustomContext("cuda", version_text(cuda.runtime_version));
    benchmark::AddCustomContext("cublas", cublas_info());
}

std::string conditions(const Backend& backend, const Ceiling& ceiling) {
    return fmt::format("{}; ceilings {:.0f} GB/s {}, {:.3g} TFLOP/s {}", backend.description(), ceiling.bytes * 1e-9,
                       backend.reads_host_memory() ? "read" : "copied", ceiling.flops * 1e-12,
                       backend.reads_host_memory() ? "of multiply-adds in float" : "by cuBLAS");
}

void register_all(Timer& timer, const Cases& cases) {
    for (const Case& c : cases)
        benchmark::RegisterBenchmark(fmt::format("{}/{}/{}", c.op, c.shape, c.rows).c_str(),
                                     [&timer, &c](benchmark::State& state) { timer.time(state, c); })
            ->UseManualTime()
            ->MinTime(0.1)
            ->Unit(benchmark::kMicrosecond);
}

bool has_flag(int argc, char** argv, std::string_view flag) {
    return std::any_of(argv, argv + argc, [&](const char* arg) { return std::string_view(arg).starts_with(flag); });
}

void print_help() {
    std::cout << "          [--device auto|cpu|cuda|cuda:N] [--large]\n";
    benchmark::PrintDefaultHelp();
}

struct Wishes {
    std::string device = "auto";
    bool large = false, only_list = false, own_table = true;
};

void run(const std::string& family, const Wishes& wishes, const std::function<Cases(const Scale&)>& make_cases) {
    const auto backend = make_backend({.device = wishes.device});
    const Cases cases =
        make_cases({.real = backend->compute_dtype(), .on_gpu = !backend->reads_host_memory(), .large = wishes.large});
    Timer timer(*backend);
    register_all(timer, cases);
    if (!wishes.only_list) timer.measure_ceiling();
    add_context(family, *backend, timer.ceiling());
    TableReporter table(family, conditions(*backend, timer.ceiling()));
    benchmark::RunSpecifiedBenchmarks(wishes.own_table ? &table : nullptr);
    benchmark::ClearRegisteredBenchmarks();
}

}  // namespace

std::vector<int64_t> Scale::rows() const {
    if (on_gpu) return {1, 4, 16, 64, 512, 2048, 8192};
    return {1, 16, 512};
}

std::vector<int64_t> Scale::product_rows() const {
    if (on_gpu) return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048, 8192};
    return rows();
}

double seconds_of(Backend& backend, const Call& call) {
    BoundCall bound(backend, call);
    Round round(bound);
    return median_seconds(round);
}

double quick_seconds(BoundCall& call) {
    Round round(call);
    return median_seconds(round, 0.02);
}

int run_family(const std::string& family, int argc, char** argv, const std::function<Cases(const Scale&)>& cases) {
    Wishes wishes;
    wishes.only_list = has_flag(argc, argv, "--benchmark_list_tests");
    wishes.own_table = !has_flag(argc, argv, "--benchmark_format");
    benchmark::Initialize(&argc, argv, print_help);
    CLI::App app("Bench of " + family + "; Google Benchmark's flags work too", "bench_" + family);
    app.add_option("--device", wishes.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    app.add_flag("--large", wishes.large, "on a CPU the shapes of a 7B too, which take minutes");
    CLI11_PARSE(app, argc, argv);
    try {
        run(family, wishes, cases);
        return 0;
    } catch (const std::exception& e) {
        std::cerr << app.get_name() << ": " << e.what() << '\n';
        return 1;
    }
}

}  // namespace ggq::bench
