#include "models/train/setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ggq/error.h"
#include "ggq/io/gguf.h"
#include "models/option_checks.h"
#include "models/train/lora_choice.h"

namespace ggq {

void take_form_of(const Model& model, TrainOptions& options) {
    const auto stored = model.weights->quantized();
    if (model.weights->packed() && options.train != TrainKind::full) take_packed_form(options.base);
    require(options.train != TrainKind::full || !is_gguf(model.folder),
            "`train` full: {} is a GGUF file, whose vocabulary cannot be saved beside a trained model; train LoRA, or "
            "take the model in Hugging Face layout",
            model.folder.string());
    if (!stored) return;
    require(options.train != TrainKind::full,
            "`train` full: the checkpoint is already quantized as {}, which cannot be trained; train LoRA, or take the "
            "checkpoint from before it was quantized",
            describe(*stored));
    take_stored_form(options.base, stored);
}

WeightChoice weight_choice(const TrainOptions& options, const LlamaConfig& config) {
    WeightChoice choice(options.base);
    if (options.train == TrainKind::full) {
        choice.train_all = true;
        return choice;
    }
    choice.adapter_dtype = options.lora.adapter_dtype;
    choice.lora = lora_config_of(options, config.num_hidden_layers);
    check_lora_config(*choice.lora, "`lora`");
    const std::vector<std::string> modules = linear_modules(config);
    require(std::ranges::any_of(modules, [&](const std::string& m) { return is_adapted(m, choice); }),
            "`lora_targets` {}: matches none of the model's linear layers (q_proj, k_proj, v_proj, o_proj, gate_proj, "
            "up_proj, down_proj)",
            options.lora.targets);
    for (const std::string& target : choice.lora->target_modules) {
        LoraConfig one = *choice.lora;
        one.target_modules = {target};
        require(std::ranges::any_of(modules, [&](const std::string& m) { return module_matches(m, one); }),
                "`lora_targets`: '{}' matches none of the model's linear layers", target);
    }
    return choice;
}

std::string TrainingData::hash() const {
    return fmt::format("{:016x}{}", train.hash, validation ? fmt::format("-{:016x}", validation->hash) : "");
}

TrainingData load_training_data(const TrainOptions& options, const Model& model, const StopAsked& stop) {
    DataOptions wanted = data_options(options);
    wanted.val_split = options.val_split;
    TrainingData data{load_samples(file_of_data(options.data, kTrainingParts), wanted, model, stop), std::nullopt};
    wanted.records.limit = -1;
    wanted.val_split = 0;
    const std::string validation = validation_data(options.data, options.val_data, options.val_split);
    if (!validation.empty()) data.validation = load_samples(validation, wanted, model, stop);
    return data;
}

BatchOptions training_batches(const TrainOptions& options) {
    BatchOptions batches = batch_options(options);
    batches.grad_accum = options.grad_accum;
    batches.shuffle = true;
    batches.seed = options.seed;
    return batches;
}

int64_t total_updates(const TrainOptions& options, int64_t updates_an_epoch) {
    if (options.max_steps) return *options.max_steps;
    const double total = std::ceil(options.epochs * static_cast<double>(updates_an_epoch));
    require(total <= static_cast<double>(kMostOfAnything),
            "`epochs` {}: expected at most {} updates in all, got {:.3g} at {} an epoch; lower it", options.epochs,
            kMostOfAnything, total, updates_an_epoch);
    return static_cast<int64_t>(total);
}

LrSchedule learning_rates(const TrainOptions& options, int64_t total_steps, int64_t n_base_params) {
    LrSchedule schedule;
    schedule.kind = options.lr_scheduler;
    schedule.lr = peak_lr(options, n_base_params);
    schedule.lr_min = options.lr_min;
    schedule.total_steps = total_steps;
    schedule.warmup_steps = options.warmup_steps.value_or(warmup_steps_of(options.warmup_ratio, total_steps));
    return schedule;
}

OptimizerChoice optimizer_choice(const TrainOptions& o) {
    OptimizerChoice choice;
    choice.eight_bit = is_8bit(o.optim);
    choice.pageable = is_paged(o.optim);
    choice.min_8bit_size = o.min_8bit_size;
    choice.adamw = {static_cast<float>(o.adam_beta1), static_cast<float>(o.adam_beta2), static_cast<float>(o.adam_eps),
                    static_cast<float>(o.weight_decay)};
    choice.max_grad_norm = static_cast<float>(o.max_grad_norm);
    return choice;
}

EngineOptions engine_options(const TrainOptions& o, const LlamaConfig& config, std::vector<int64_t> lengths) {
    EngineOptions engine;
    engine.weights = weight_choice(o, config);
    engine.optimizer = optimizer_choice(o);
    engine.recompute = o.recompute;
    engine.lengths = std::move(lengths);
    engine.grad_accum = o.grad_accum;
    engine.seed = o.seed;
    engine.document = o.max_length;
    return engine;
}

}  // namespace ggq
