#include "models/train/training_model.h"

#include <fmt/format.h>

#include "models/figures.h"

namespace ggq {

namespace {

// Of buffers, on the device and on the host.
struct Split {
    int64_t device = 0, host = 0;

    void add(const Buffer& b) { (b.on_host() ? host : device) += b.bytes(); }
};

std::string times(const Program& program, const Costs& costs) {
    const Duration d = duration(program.plan(), program.graph(), costs);
    const Plan& p = program.plan();
    std::string line = fmt::format("  {}: about {:.3f} s", program.name(), d.seconds);
    if (p.n_recomputed > 0) line += fmt::format(", {} steps run again", p.n_recomputed);
    if (p.bytes_in + p.bytes_out > 0)
        line += fmt::format(", {:.0f} MiB in, {:.0f} MiB out, {:.3f} s of waiting for them", mebibytes(p.bytes_in),
                            mebibytes(p.bytes_out), d.stalled);
    return line;
}

}  // namespace

Duration TrainingModel::an_update(int64_t n_micro_batches) const {
    const Program* together = engine.together_program();
    const Program& program = together ? *together : engine.micro_program();
    const Duration d = duration(program.plan(), program.graph(), set.backend().costs());
    const double n = together ? 1 : static_cast<double>(n_micro_batches);
    return {n * d.seconds, n * d.stalled};
}

std::unique_ptr<TrainingModel> faster_order(
    const std::function<std::unique_ptr<TrainingModel>(int64_t together)>& planned, int64_t n_micro_batches) {
    constexpr double kWorthTrying = 0.02;  // of the time is waited for
    constexpr int64_t kMostPasses = 2000;  // through a layer, which a program holds
    auto plain = planned(1);
    const Duration before = plain->an_update(n_micro_batches);
    const int64_t n_passes = n_micro_batches * std::ssize(plain->engine.llama().layers);
    if (n_micro_batches <= 1 || n_passes > kMostPasses || before.stalled < kWorthTrying * before.seconds) return plain;
    auto together = planned(n_micro_batches);
    const bool better = together->set.fits() && together->an_update(n_micro_batches).seconds < before.seconds;
    return better || !plain->set.fits() ? std::move(together) : std::move(plain);
}

std::vector<std::string> TrainingModel::memory_lines() const {
    const MemoryUse use = set.memory();
    Split weights, parameters, optimizer;
    for (const Buffer* b : set.store().declared()) {
        if (b->kind == Kind::constant) weights.add(*b);
        if (b->kind == Kind::parameter) parameters.add(*b);
    }
    for (const auto& [name, b] : engine.parameters().state()) optimizer.add(*b);
    const int64_t gradients = engine.parameters().gradients().bytes(), cache = generator.cache_bytes();
    const bool uses_host = use.host_total() > 0;
    std::vector<std::string> lines;
    const auto line = [&](const char* what, int64_t device, int64_t host = 0) {
        std::string text = fmt::format("  {:<34}{:>12.2f} MiB", what, mebibytes(device));
        if (host > 0) text += fmt::format(" {:>12.2f} MiB", mebibytes(host));
        lines.push_back(std::move(text));
    };
    lines.push_back(uses_host ? fmt::format("{:<36}{:>16} {:>16}", "memory:", "device", "host") : "memory:");
    line("weights, frozen", weights.device, weights.host);
    line("trained parameters", parameters.device, parameters.host);
    line("gradients", gradients);
    line("optimizer state", optimizer.device, optimizer.host);
    line("KV cache for samples", cache);
    line("inputs and counters", use.inputs + use.state - gradients - optimizer.device - cache);
    line("arena: activations and workspace", use.arena, use.host_arena);
    line("  of which workspace, at most", use.workspace);
    if (use.migrated > 0) line("pages of unified memory, at most", use.migrated);
    if (use.overhead > 0) line("context and libraries of the GPU", use.overhead);
    line("peak", use.total() + use.migrated + use.overhead, use.host_total());
    const Program* together = engine.together_program();
    if (!set.backend().reads_host_memory())
        lines.push_back(times(together ? *together : engine.micro_program(), set.backend().costs()));
    return lines;
}

}  // namespace ggq
