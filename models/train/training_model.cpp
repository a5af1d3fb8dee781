#include "models/train/training_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "models/figures.h"
#include "models/memory_lines.h"
#include "models/model_figures.h"

namespace ggq {

namespace {

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
    const Program& program = *iteration()[0];
    const Duration d = duration(program.plan(), program.graph(), set.backend().costs());
    const double n = engine.together_program() ? 1 : static_cast<double>(n_micro_batches);
    return {n * d.seconds, n * d.stalled};
}

std::unique_ptr<TrainingModel> faster_order(
    const std::function<std::unique_ptr<TrainingModel>(int64_t together)>& planned, int64_t n_micro_batches) {
    constexpr double kWorthTrying = 0.02;  // of the time is waited for
    constexpr int64_t kMostPasses = 2000;  // through a layer, which a program holds
    auto plain = planned(1);
    const Duration before = plain->an_update(n_micro_batches);
    const int64_t n_passes = n_micro_batches * std::ssize(plain->engine.llama().layers);
    const bool can = n_micro_batches > 1 && n_passes <= kMostPasses && plain->engine.can_run_together();
    if (!can || before.stalled < kWorthTrying * before.seconds) return plain;
    auto together = planned(n_micro_batches);
    const bool better = together->set.fits() && together->an_update(n_micro_batches).seconds < before.seconds;
    return better || !plain->set.fits() ? std::move(together) : std::move(plain);
}

std::vector<const Program*> TrainingModel::iteration() const {
    const Program* together = engine.together_program();
    return {together ? together : &engine.micro_program(), &engine.update_program()};
}

std::vector<std::string> TrainingModel::memory_lines() const {
    MemoryClass weights{"weights, frozen"}, parameters{"trained parameters"}, gradients{"gradients"},
        optimizer{"optimizer state"};
    for (const Buffer* b : set.store().declared()) {
        if (b->kind == Kind::constant) weights.add(*b);
        if (b->kind == Kind::parameter) parameters.add(*b);
    }
    gradients.add(engine.parameters().gradients());
    for (const auto& [name, b] : engine.parameters().state()) optimizer.add(*b);
    const MemoryClass cache{"KV cache for samples", generator.cache_bytes()};
    std::vector<std::string> lines = ggq::memory_lines(set, {weights, parameters, gradients, optimizer, cache});
    if (!set.backend().reads_host_memory()) lines.push_back(times(*iteration()[0], set.backend().costs()));
    return lines;
}

std::vector<std::string> TrainingModel::plan_lines() const {
    std::vector<std::string> lines = memory_lines();
    std::ranges::move(arena_lines(set), std::back_inserter(lines));
    std::ranges::move(figure_lines(figures_of(engine.llama())), std::back_inserter(lines));
    const WeightChoice& weights = engine.options().weights;
    if (weights.quantized_in_checkpoint)
        lines.push_back("already quantized: " + describe(QuantForm{*weights.quant, weights.quant_spec}));
    return lines;
}

}  // namespace ggq
