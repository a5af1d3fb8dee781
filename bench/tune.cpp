// tune: measures the choices among kernels on this card, and what work costs on it, and writes both to a file.
//
//   build/bin/tune --output h200.json
//   build/bin/train --gpu-table h200.json ...      build/bin/plan --gpu h200.json ...
//
// Each value of a row of kernels/cuda/tuning.h runs each case of bench/support/tuning_cases.h: checked against the CPU,
// then timed over at least four copies of its tensors in turn, the median. Values are ranked by the geometric mean of
// their times; one that gains less than a per cent on today's is not taken, nor is one with a wrong result. The rows go
// one after the other, each with what was taken in those before it.
#include <charconv>
#include <fstream>
#include <iostream>
#include <optional>

#include "bench/model_bench.h"
#include "bench/ranking.h"
#include "bench/support/op_costs.h"
#include "bench/support/reference.h"
#include "bench/support/tuning_cases.h"
#include "ggq/gpu_file.h"

namespace ggq::bench {

namespace {

struct Options : ModelOptions {
    std::string output, rows, shapes = "4096x4096,1024x4096,14336x4096,4096x14336,28672x8192";
    bool costs = true;
};

std::vector<std::string> parts_of(const std::string& list) {
    std::vector<std::string> parts;
    for (size_t begin = 0; begin < list.size();) {
        const size_t end = std::min(list.find(',', begin), list.size());
        parts.push_back(list.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

std::vector<Linear> shapes_of(const std::string& list) {
    std::vector<Linear> shapes;
    for (const std::string& text : parts_of(list)) {
        Linear l{};
        char rest = 0;
        require(std::sscanf(text.c_str(), "%ldx%ld%c", &l.n, &l.k, &rest) == 2 && l.n > 0 && l.k > 0,
                "--shapes: expected NxK such as 4096x14336, got '{}'", text);
        shapes.push_back(l);
    }
    return shapes;
}

GpuModel facts_of(const Options& o, const Backend& backend) {
    const GpuInfo gpu = cuda_info().gpus.at(static_cast<size_t>(gpu_of(o.device).value_or(0)));
    GpuModel m;
    m.name = m.part = gpu.name;
    m.device.capability = gpu.capability;
    m.device.n_sms = gpu.n_multiprocessors;
    m.device.shared_bytes = gpu.shared_bytes;
    m.device.tuning = gpu_tuning(gpu.name);
    m.memory_bytes = gpu.memory_bytes;
    m.overhead_bytes = backend.overhead_bytes();
    m.costs = backend.costs();
    return m;
}

// A value of a row, and a device that computes by it.
struct Variant {
    Candidate candidate;
    std::unique_ptr<Backend> backend;
};

std::vector<Variant> variants_of(const cuda::TuningRow& row, const Options& o, const cuda::Tuning& today) {
    std::vector<Variant> variants;
    for (int value : row.all()) {
        cuda::Tuning tuning = today;
        tuning.*row.value = value;
        variants.push_back({{.value = value}, make_backend({.device = o.device, .tuning = tuning})});
    }
    return variants;
}

// Each variant's time of one case, printed as a line.
void measure(const Case& c, std::vector<Variant>& variants) {
    BoundCall call(*variants.front().backend, c.call);
    const Reference reference(call, c.call);
    fmt::print("  {:<22} {:>12} {:>6}", c.op, c.shape, c.rows);
    for (Variant& v : variants) {
        call.move_to(*v.backend);
        const std::string problem = reference.problem(call);
        if (!problem.empty()) v.candidate.problem = problem;
        v.candidate.seconds.push_back(quick_seconds(call));
        fmt::print("  {}: {:.2f}", v.candidate.value, v.candidate.seconds.back() * 1e6);
    }
    fmt::print(" us\n");
    std::fflush(stdout);
}

void tune_row(const cuda::TuningRow& row, const Options& o, const Scale& scale, cuda::Tuning& tuning) {
    const int today = tuning.*row.value;
    fmt::print("{}: {}\n", row.name, row.meaning);
    std::vector<Variant> variants = variants_of(row, o, tuning);
    for (const Case& c : tuning_cases(row.name, scale, shapes_of(o.shapes))) measure(c, variants);
    std::vector<Candidate> candidates;
    for (const Variant& v : variants) candidates.push_back(v.candidate);
    const auto now = std::ranges::find(candidates, today, &Candidate::value);
    require(now->problem.empty(), "{}: {}; run make test-gpu", row.name, now->problem);
    if (now->seconds.empty()) return;
    const std::vector<Ranked> list = ranked(candidates, today);
    tuning.*row.value = chosen_value(list, today);
    fmt::print("{}  takes {}\n", ranking_text(list, today), tuning.*row.value);
}

void write(const std::string& path, const std::string& text) {
    std::ofstream out(path);
    out << text;
    require(out.flush().good(), "{}: could not be written; is the disk full?", path);
    std::cout << path << '\n';
}

void run(const Options& o) {
    const auto backend = o.backend();
    require(!backend->reads_host_memory(), "--device: expected a GPU, got {}", backend->description());
    GpuModel card = facts_of(o, *backend);
    fmt::print("{}\n", backend->description());
    const std::vector<std::string> wanted = parts_of(o.rows);
    for (const std::string& name : wanted) tuning_cases(name, {}, {});  // refuses what is no choice
    for (const cuda::TuningRow& row : cuda::kTuningRows)
        if (wanted.empty() || std::ranges::find(wanted, row.name) != wanted.end())
            tune_row(row, o, {.real = backend->compute_dtype(), .on_gpu = true}, card.device.tuning);
    if (o.costs) card.costs = measured_costs(*backend);
    if (o.output.empty()) std::cout << gpu_file_text(card);
    else write(o.output, gpu_file_text(card));
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    ggq::bench::Options o;
    CLI::App app("Choices among kernels and costs of a card, measured into a file for --gpu-table and --gpu", "tune");
    app.add_option("--device", o.device, "cuda or cuda:N")->capture_default_str();
    app.add_option("-o,--output", o.output, "the file; without it the table is printed");
    app.add_option("--rows", o.rows, "choices to measure, such as few_rows,dequantize; all by default");
    app.add_option("--shapes", o.shapes, "weights NxK to measure them on")->capture_default_str();
    app.add_flag("!--no-costs", o.costs, "leave out what work costs");
    return ggq::bench::run_bench(app, argc, argv, [&] { ggq::bench::run(o); });
}
