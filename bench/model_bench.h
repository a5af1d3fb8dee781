// What benches of whole models share: their flags, and how the result is printed.
#pragma once

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/random_model.h"
#include "ggq/error.h"
#include "ggq/gpu_file.h"
#include "ggq/program.h"
#include "models/base_options.h"
#include "models/option_checks.h"

namespace ggq::bench {

// What a flag of names stands for. Throws Error with all of them for another text.
template <typename T, size_t N>
T chosen(const char* flag, const OptionName<T> (&names)[N], const std::string& text) {
    const auto found = find_option(names, text);
    require(found.has_value(), "{}: expected one of {}, got '{}'", flag, option_list(names), text);
    return *found;
}

struct ModelOptions {
    std::string shape = "llama-15m", quant = "nf4", device = "auto", compute_dtype = "auto", gpu_memory, pager = "auto",
                gpu_table;
    int threads = 0;
    bool profile = false, json = false;

    std::unique_ptr<Backend> backend() const {
        DeviceOptions o{.device = device,
                        .threads = threads,
                        .gpu_memory = gpu_memory.empty() ? 0 : memory_size("gpu_memory", gpu_memory),
                        .pager = chosen("--pager", kPagers, pager)};
        take_gpu_table(o, gpu_table);
        return make_backend(o);
    }

    std::optional<DType> quant_dtype() const { return chosen("--quant", kQuantNames, quant); }
};

inline void add_flags(CLI::App& app, ModelOptions& o) {
    app.add_option("--shape", o.shape, shape_list())->capture_default_str();
    app.add_option("--quant", o.quant, "nf4, fp4, int8 or none")->capture_default_str();
    app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    app.add_option("--gpu-memory", o.gpu_memory, "the most to hold on the GPU, as 24GiB");
    app.add_option("--pager", o.pager, "auto, explicit or managed")->capture_default_str();
    app.add_option("--gpu-table", o.gpu_table, "costs and choices among kernels, as tune writes them");
    app.add_option("--compute-dtype", o.compute_dtype, "auto, bf16, f16 or f32")->capture_default_str();
    app.add_option("--threads", o.threads, "0: every core")->capture_default_str();
    app.add_flag("--profile", o.profile, "time an op");
    app.add_flag("--json", o.json, "one line of JSON");
}

// As the driver counts.
inline double peak_gib(const Backend& backend) {
    return static_cast<double>(backend.memory().peak_bytes + backend.overhead_bytes()) / (1 << 30);
}

inline void print(const nlohmann::ordered_json& result, const Profile& profile, const ModelOptions& o) {
    if (o.json) {
        std::cout << result.dump() << '\n';
        return;
    }
    if (o.profile) std::cout << profile.table();
    for (const auto& [key, value] : result.items()) std::cout << key << ": " << value << '\n';
}

// Parses the flags and runs; the exit code.
template <typename F>
int run_bench(CLI::App& app, int argc, char** argv, const F& run) {
    CLI11_PARSE(app, argc, argv);
    try {
        run();
        return 0;
    } catch (const std::exception& e) {
        std::cerr << app.get_name() << ": " << e.what() << '\n';
        return 1;
    }
}

}  // namespace ggq::bench
