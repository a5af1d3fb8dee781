#include "models/train/run_plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/planning_backend.h"
#include "models/figures.h"
#include "models/gguf_source.h"
#include "models/memory_lines.h"
#include "models/model_figures.h"
#include "models/option_checks.h"
#include "models/shapes.h"
#include "models/train/setup.h"
#include "models/train/smaller.h"

namespace ggq {

namespace {

TrainOptions settled(TrainOptions options) {
    const auto positive = [](const char* name, int64_t value) {
        require(value > 0, "`{}`: expected a number above 0, got {}", name, value);
    };
    positive("batch_size", options.batch_size);
    positive("max_length", options.max_length);
    positive("grad_accum", options.grad_accum);
    settle(options);
    return options;
}

std::shared_ptr<Backend> device_of(const PlanRequest& request) {
    const BaseOptions& base = request.train.base;
    if (request.gpu.empty()) return make_backend(base);
    return make_planning_backend(request.gpu, gpu_memory_bytes(base), base.pager == Pager::managed);
}

Model of_no_weights(LlamaConfig config) { return {{}, std::move(config), {}, source_of_no_weights(DType::bf16), {}}; }

Model of_gguf(const std::filesystem::path& path) {
    const auto file = std::make_shared<const GgufFile>(path);
    LlamaConfig config = read_gguf_config(*file);
    auto weights = gguf_source(file, config);
    return {path, std::move(config), {}, std::move(weights), {}};
}

Model model_of(const PlanRequest& request) {
    const TrainOptions& o = request.train;
    require(request.shape.empty() != o.base.model.empty(), "expected one of `model` and `shape`");
    if (o.base.model.empty()) return of_no_weights(config_of_shape(request.shape, o.max_length));
    if (is_gguf(o.base.model)) return of_gguf(o.base.model);
    LlamaConfig config = read_config(o.base.model);
    if (!config.quantization) return of_no_weights(std::move(config));
    auto weights = checkpoint_source(o.base.model, config);  // which alone knows its form
    return {{}, std::move(config), {}, std::move(weights), {}};
}

TrainingModelOptions options_of(const TrainOptions& o, const LlamaConfig& config) {
    TrainingModelOptions t;
    t.engine = engine_options(o, config, {o.batch_size * o.max_length});
    t.eval_lengths = t.engine.lengths;
    t.generator = {o.max_length, t.engine.weights.compute()};
    return t;
}

}  // namespace

RunPlan::RunPlan(const PlanRequest& request) : RunPlan(request, device_of(request)) {}

RunPlan::RunPlan(const PlanRequest& request, std::shared_ptr<Backend> device)
    : options(settled(request.train)), backend(std::move(device)), model(model_of(request)) {
    settle_device(options.base, *backend);
    take_form_of(model, options);
    const auto planned = [&](int64_t together) {
        TrainingModelOptions o = options_of(options, model.config);
        o.engine.together = together;
        auto training = std::make_unique<TrainingModel>(*backend, model, o);
        training->set.fit();
        return training;
    };
    on_device = faster_order(planned, options.grad_accum);
}

std::string RunPlan::advice(const PlanRequest& request) const {
    const MemoryShortage missing = on_device->set.shortage();
    if (missing.total() == 0) return "";
    PlanRequest smaller = request;
    const auto missing_of = [&](const TrainOptions& o) {
        smaller.train = o;
        return RunPlan(smaller, backend).on_device->set.shortage().total();
    };
    return fmt::format("{}; {}",
                       missing.device > 0 ? fmt::format("{:.1f} MiB are missing", mebibytes(missing.device))
                                          : "the host has too little memory for what would lie there",
                       smaller_settings(request.train, missing.total(), missing_of));
}

namespace {

using Json = nlohmann::ordered_json;

Json arena_json(const ProgramSet& set) {
    const FullestArena fullest = fullest_arena(set);
    Json needs = Json::object();
    for (const Program* p : set.programs()) needs[p->name()] = p->plan().arena_bytes;
    return {{"fullest_program", fullest.program->name()},
            {"fullest_step", fullest.step},
            {"kept_activations_bytes", fullest.use.kept},
            {"temporaries_bytes", fullest.use.temporaries},
            {"pages_bytes", fullest.use.pages},
            {"workspace_bytes", fullest.use.workspace},
            {"gaps_bytes", fullest.gaps},
            {"needed_bytes_by_program", needs}};
}

Json figures_json(const ModelFigures& f) {
    return {{"parameters", f.n_parameters},
            {"trained_percent", percent(f.n_trained, f.n_parameters)},
            {"trained_parameters_by_layer", f.n_trained_of_layers},
            {"quantized_weights", f.n_quantized},
            {"bits_a_quantized_weight", f.bits_a_quantized_weight()},
            {"double_quant_saves_bytes", f.double_quant_saves}};
}

}  // namespace

std::string RunPlan::json() const {
    const MemoryUse use = on_device->set.memory();
    const Program& micro = *on_device->iteration()[0];
    const Duration time = on_device->an_update(options.grad_accum);
    Json result = {{"device", backend->description()},
                   {"fits", on_device->set.fits()},
                   {"weights_bytes", use.weights},
                   {"parameters_bytes", use.parameters},
                   {"state_bytes", use.state},
                   {"inputs_bytes", use.inputs},
                   {"arena_bytes", use.arena},
                   {"workspace_bytes", use.workspace},
                   {"overhead_bytes", use.overhead},
                   {"device_bytes", use.total() + use.migrated + use.overhead},
                   {"host_bytes", use.host_total()},
                   {"trained_parameters", on_device->engine.parameters().n_trained()},
                   {"micro_batches_together", on_device->engine.options().together},
                   {"recomputed_steps", micro.plan().n_recomputed},
                   {"steps", micro.plan().steps.size()},
                   {"arena_live_bytes", micro.plan().live_bytes},
                   {"bytes_in", micro.plan().bytes_in},
                   {"bytes_out", micro.plan().bytes_out},
                   {"estimated_seconds", time.seconds},
                   {"estimated_stall_seconds", time.stalled}};
    result["arena_at_its_fullest"] = arena_json(on_device->set);
    result.update(figures_json(figures_of(on_device->engine.llama())));
    return result.dump();
}

}  // namespace ggq
