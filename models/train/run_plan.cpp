#include "models/train/run_plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/planning_backend.h"
#include "models/figures.h"
#include "models/memory_lines.h"
#include "models/model_figures.h"
#include "models/option_checks.h"
#include "models/shapes.h"
#include "models/train/setup.h"

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

Model model_of(const PlanRequest& request) {
    const TrainOptions& o = request.train;
    require(request.shape.empty() != o.base.model.empty(), "expected one of `model` and `shape`");
    if (!o.base.model.empty()) return {{}, read_config(o.base.model), {}, source_of_no_weights(DType::bf16), {}};
    return {{}, config_of_shape(request.shape, o.max_length), {}, source_of_no_weights(DType::bf16), {}};
}

TrainingModelOptions options_of(const TrainOptions& o, const LlamaConfig& config) {
    const std::vector<int64_t> lengths = {o.batch_size * o.max_length};
    TrainingModelOptions t;
    t.engine = {.weights = weight_choice(o, config),
                .optimizer = optimizer_choice(o),
                .recompute = o.recompute,
                .lengths = lengths,
                .grad_accum = o.grad_accum,
                .seed = o.seed,
                .document = o.max_length};
    t.eval_lengths = lengths;
    t.generator = {o.max_length, t.engine.weights.compute()};
    return t;
}

}  // namespace

RunPlan::RunPlan(const PlanRequest& request) : RunPlan(request, device_of(request)) {}

RunPlan::RunPlan(const PlanRequest& request, std::shared_ptr<Backend> device)
    : options(settled(request.train)), backend(std::move(device)), model(model_of(request)) {
    settle_device(options.base, *backend);
    const auto planned = [&](int64_t together) {
        TrainingModelOptions o = options_of(options, model.config);
        o.engine.together = together;
        auto training = std::make_unique<TrainingModel>(*backend, model, o);
        training->set.fit();
        return training;
    };
    on_device = faster_order(planned, options.grad_accum);
}

namespace {

// What takes less, the least loss first: each on top of those before.
struct Smaller {
    const char* what;
    bool (*applies)(const TrainOptions& o);
    void (*apply)(TrainOptions& o);
};

constexpr Smaller kSmaller[] = {
    {"`recompute` auto", [](const TrainOptions& o) { return o.recompute.preset != Recompute::automatic; },
     [](TrainOptions& o) { o.recompute = Recompute::automatic; }},
    {"`batch_size` 1 with a larger `grad_accum`", [](const TrainOptions& o) { return o.batch_size > 1; },
     [](TrainOptions& o) { o.grad_accum *= o.batch_size, o.batch_size = 1; }},
    {"`optim` paged_adamw_8bit", [](const TrainOptions& o) { return o.optim != OptimKind::paged_adamw_8bit; },
     [](TrainOptions& o) { o.optim = OptimKind::paged_adamw_8bit; }},
    {"`max_length` 256, which cuts longer samples", [](const TrainOptions& o) { return o.max_length > 256; },
     [](TrainOptions& o) { o.max_length = 256; }},
    {"`lora_targets` q_proj,v_proj",
     [](const TrainOptions& o) { return o.train == TrainKind::lora && o.lora.targets == "all-linear"; },
     [](TrainOptions& o) { o.lora.targets = "q_proj,v_proj"; }},
};

}  // namespace

std::string RunPlan::advice(const PlanRequest& request) const {
    if (on_device->set.fits()) return "";
    const MemoryUse use = on_device->set.memory();
    const int64_t missing =
        use.total() + use.migrated + use.overhead - backend->overhead_bytes() - backend->free_bytes();
    std::string text = missing > 0 ? fmt::format("{:.1f} MiB are missing", mebibytes(missing))
                                   : "the host has too little memory for what would lie there";
    PlanRequest smaller = request;
    std::string with;
    for (const Smaller& s : kSmaller) {
        if (!s.applies(smaller.train)) continue;
        s.apply(smaller.train);
        with += (with.empty() ? "" : ", ") + std::string(s.what);
        if (RunPlan(smaller, backend).on_device->set.fits()) return text + "; it would fit with " + with;
    }
    if (!with.empty()) text += "; it would not fit with " + with + " either";
    return text + "; take a smaller model";
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
