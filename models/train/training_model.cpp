#include "models/train/training_model.h"

#include <fmt/format.h>

#include "models/figures.h"

namespace ggq {

std::vector<std::string> TrainingModel::memory_lines() const {
    const MemoryUse use = set.memory();
    const int64_t gradients = engine.parameters().gradients().bytes(), optimizer = engine.parameters().state_bytes();
    const int64_t cache = generator.cache_bytes();
    std::vector<std::string> lines;
    const auto line = [&](const char* what, int64_t n_bytes) {
        lines.push_back(fmt::format("  {:<34}{:>12.2f} MiB", what, mebibytes(n_bytes)));
    };
    lines.push_back("memory:");
    line("weights, frozen", use.weights);
    line("trained parameters", use.parameters);
    line("gradients", gradients);
    line("optimizer state", optimizer);
    line("KV cache for samples", cache);
    line("inputs and counters", use.inputs + use.state - gradients - optimizer - cache);
    line("arena: activations and workspace", use.arena);
    line("  of which workspace, at most", use.workspace);
    if (use.overhead > 0) line("context and libraries of the GPU", use.overhead);
    line("peak", use.total() + use.overhead);
    return lines;
}

}  // namespace ggq
