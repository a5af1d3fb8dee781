// info: what this build holds and this machine offers, and what is missing for the rest; of a model, what it is.
#include <fmt/format.h>

#include <iostream>

#include "examples/support/cli.h"
#include "examples/support/run_program.h"
#include "ggq/device.h"
#include "models/model_summary.h"

namespace ggq {

namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

void print_cuda(const CudaInfo& info) {
    if (!info.built) {
        std::cout << "CUDA: " << info.problem << '\n';
        return;
    }
    std::cout << fmt::format("CUDA: code for {}, runtime {}\n", info.architectures, version_text(info.runtime_version));
    std::cout << "driver: " << (info.driver_version > 0 ? "supports CUDA " + version_text(info.driver_version) : "none")
              << '\n';
    std::cout << "cuBLAS: " << cublas_info() << '\n';
    if (!info.problem.empty()) std::cout << "no GPU can be used: " << info.problem << '\n';
    for (const GpuInfo& gpu : info.gpus) {
        std::cout << fmt::format("cuda:{}: {}, compute capability {}.{}, {} multiprocessors, {:.1f} GiB, bf16 {}\n",
                                 gpu.index, gpu.name, gpu.capability / 10, gpu.capability % 10, gpu.n_multiprocessors,
                                 static_cast<double>(gpu.memory_bytes) / (1 << 30), gpu.bf16 ? "yes" : "no");
        if (!gpu.problem.empty()) std::cout << fmt::format("cuda:{} cannot be used: {}\n", gpu.index, gpu.problem);
    }
}

int run(const Strings& args) {
    const bool of_model = args.size() == 2 && (args[0] == "-m" || args[0] == "--model");
    if (of_model) {
        for (const std::string& line : summary_of(open_model(args[1]))) std::cout << line << '\n';
        return 0;
    }
    if (!args.empty()) {
        std::cout << "usage: info [-m PATH]\n\nPrints what this build holds and which devices this machine offers, or "
                     "what the model is\nthat lies at PATH: a folder or a GGUF file.\n";
        return args[0] == "--help" || args[0] == "-h" ? 0 : 2;
    }
    std::cout << make_cpu_backend()->description() << '\n';
    print_cuda(cuda_info());
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
