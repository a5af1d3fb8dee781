#include "models/train/setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ggq/error.h"
#include "models/train/lora_choice.h"

namespace ggq {

namespace {

std::string thousands(int64_t n) {
    std::string text = std::to_string(n);
    for (auto i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > 0; i -= 3)
        text.insert(static_cast<size_t>(i), 1, ',');
    return text;
}

double percent(int64_t part, int64_t whole) {
    return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

DataOptions data_options(const TrainOptions& o) {
    DataOptions d;
    d.records.form = o.template_name;
    d.records.text_field = o.text_field;
    d.records.limit = o.limit.value_or(-1);
    d.max_length = o.max_length;
    d.on_long = o.on_long;
    d.train_on_prompt = o.train_on_prompt;
    d.val_split = o.val_split;
    return d;
}

}  // namespace

WeightChoice weight_choice(const TrainOptions& options, const LlamaConfig& config) {
    WeightChoice choice;
    choice.lift_f32 = options.base.lift_f32;
    choice.compute = options.base.compute_dtype.value_or(DType::f32);
    if (options.train == TrainKind::full) {
        choice.train_all = true;
        return choice;
    }
    choice.quant = options.base.quant;
    choice.quant_spec = options.base.quant_spec;
    choice.quant_only_adapted = options.base.quant_only_adapted;
    choice.adapter_dtype = options.lora.adapter_dtype;
    choice.lora = lora_config_of(options, config.num_hidden_layers);
    check_lora_config(*choice.lora, "--lora");
    const std::vector<std::string> modules = linear_modules(config);
    require(std::ranges::any_of(modules, [&](const std::string& m) { return is_adapted(m, choice); }),
            "--lora-targets {}: matches none of the model's linear layers (q_proj, k_proj, v_proj, o_proj, gate_proj, "
            "up_proj, down_proj)",
            options.lora.targets);
    for (const std::string& target : choice.lora->target_modules) {
        LoraConfig one = *choice.lora;
        one.target_modules = {target};
        require(std::ranges::any_of(modules, [&](const std::string& m) { return module_matches(m, one); }),
                "--lora-targets: '{}' matches none of the model's linear layers", target);
    }
    return choice;
}

std::string TrainingData::hash() const {
    return fmt::format("{:016x}{}", train.hash, validation ? fmt::format("-{:016x}", validation->hash) : "");
}

TrainingData load_training_data(const TrainOptions& options, const BaseModel& base) {
    const int64_t positions = base.config.max_position_embeddings;
    require(options.max_length <= positions, "--max-length {}: the model has {} positions; use at most that many",
            options.max_length, positions);
    const DataOptions wanted = data_options(options);
    TrainingData data{load_dataset(options.data, base.tokenizer, base.config.vocab_size, wanted), std::nullopt};
    if (!options.val_data.empty()) {
        DataOptions all = wanted;
        all.records.limit = -1;
        data.validation = load_dataset(options.val_data, base.tokenizer, base.config.vocab_size, all);
    }
    return data;
}

std::vector<std::string> describe_data(const TrainingData& data, const TrainOptions& options) {
    const DatasetReport& r = data.train.report;
    std::vector<std::string> lines;
    lines.push_back(fmt::format("data: {} records as {}, {} samples ({} for validation), longest {} tokens",
                                thousands(r.records), form_name(r.form), thousands(r.samples),
                                thousands(static_cast<int64_t>(data.validation_samples().size())), r.longest));
    lines.push_back(fmt::format("tokens: {}, of which {} carry loss ({:.1f} %)", thousands(r.tokens),
                                thousands(r.label_tokens), percent(r.label_tokens, r.tokens)));
    lines.push_back(fmt::format(
        "longer than {} tokens: {} dropped ({:.1f} %), {} cut; without a label: {}; double BOS: {}; missing EOS: {}",
        options.max_length, r.dropped, percent(r.dropped, r.records), r.cut, r.without_label, r.double_bos,
        r.missing_eos));
    return lines;
}

std::vector<std::string> warn_of_data(const TrainingData& data) {
    const DatasetReport& r = data.train.report;
    std::vector<std::string> lines;
    if (percent(r.label_tokens, r.tokens) < 1)
        lines.push_back("less than 1 % of the tokens carry loss; look at the masks with --show-samples");
    if (r.double_bos > 0)
        lines.push_back(fmt::format("{} texts begin with BOS themselves; no second one was added", r.double_bos));
    if (r.missing_eos > 0)
        lines.push_back(
            fmt::format("{} samples were cut and do not end in EOS: they do not teach where to stop", r.missing_eos));
    return lines;
}

BatchOptions batch_options(const TrainOptions& o, bool training) {
    return {o.batch_size, o.max_length, training ? o.grad_accum : 1, o.packing, training, o.seed};
}

int64_t total_updates(const TrainOptions& options, int64_t updates_an_epoch) {
    if (options.max_steps) return *options.max_steps;
    const double total = std::ceil(options.epochs * static_cast<double>(updates_an_epoch));
    require(total <= static_cast<double>(kMostOfAnything),
            "--epochs {}: expected at most {} updates in all, got {:.3g} at {} an epoch; lower it", options.epochs,
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
    choice.eight_bit = o.optim == OptimKind::adamw_8bit;
    choice.min_8bit_size = o.min_8bit_size;
    choice.adamw = {static_cast<float>(o.adam_beta1), static_cast<float>(o.adam_beta2), static_cast<float>(o.adam_eps),
                    static_cast<float>(o.weight_decay)};
    choice.max_grad_norm = static_cast<float>(o.max_grad_norm);
    return choice;
}

BaseRecord base_record(const TrainOptions& options, const std::string& base_hash) {
    BaseRecord record;
    record.path = options.base.model;
    record.hash = base_hash;
    record.quant = option_text(kQuantNames, options.base.quant);
    record.quant_block = options.base.quant_spec.block;
    record.double_quant = options.base.quant_spec.double_quant;
    record.quant_only_adapted = options.base.quant_only_adapted;
    record.lift_f32 = options.base.lift_f32;
    record.compute_dtype = option_text(kComputeDTypes, options.base.compute_dtype);
    return record;
}

std::string trainable_line(int64_t n_trained, int64_t n_all) {
    return fmt::format("trainable params: {} || all params: {} || trainable%: {:.4f}", thousands(n_trained),
                       thousands(n_all), percent(n_trained, n_all));
}

std::vector<std::string> memory_lines(const MemoryUse& use, int64_t cache_bytes) {
    std::vector<std::string> lines;
    const auto line = [&](const char* what, int64_t n_bytes) {
        lines.push_back(fmt::format("  {:<34}{:>12.2f} MiB", what, static_cast<double>(n_bytes) / (1 << 20)));
    };
    lines.push_back("memory:");
    line("weights, frozen", use.weights);
    line("trained parameters", use.parameters);
    line("gradients", use.gradients);
    line("optimizer state", use.optimizer);
    line("KV cache for samples", cache_bytes);
    line("inputs and counters", use.inputs + use.other_state - cache_bytes);
    line("arena: activations and workspace", use.arena);
    line("  of which workspace, at most", use.workspace);
    if (use.overhead > 0) line("context and libraries of the GPU", use.overhead);
    line("peak", use.total() + use.overhead);
    return lines;
}

}  // namespace ggq
