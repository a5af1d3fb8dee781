#include "models/train/options.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/option_checks.h"

namespace ggq {

namespace {

void validate_data(const TrainOptions& o) {
    require_fraction("val_split", o.val_split);
    require(o.val_data.empty() || o.val_split == 0, "`val_data` and `val_split` exclude each other: give one of them");
    require_not_negative("show_samples", o.show_samples);
}

void validate_what_is_trained(const TrainOptions& o) {
    require_positive("lora_r", o.lora.r);
    require_positive("lora_alpha", o.lora.alpha);
    require_fraction("lora_dropout", o.lora.dropout);
    require(!o.lora.targets.empty(),
            "`lora_targets`: expected a list, a regular expression or all-linear, got nothing");
    const bool full = o.train == TrainKind::full;
    require(full || !o.from_scratch, "`from_scratch` trains every weight: add `train` full");
    require(!full || !o.base.given.any() || !o.base.quant,
            "`train` full cannot train a quantized base ({}): leave `quant` away or say `quant` none",
            option_text(kQuantNames, o.base.quant));
}

void validate_batch(const TrainOptions& o) {
    require_positive("grad_accum", o.grad_accum);
    if (!o.global_batch_size) return;
    require_positive("global_batch_size", *o.global_batch_size);
    require(*o.global_batch_size % o.batch_size == 0,
            "`global_batch_size`: expected a multiple of `batch_size` ({}), got {}", o.batch_size,
            *o.global_batch_size);
}

void validate_schedule(const TrainOptions& o) {
    require_positive("epochs", o.epochs);
    if (o.max_steps) require_positive("max_steps", *o.max_steps);
    if (o.lr) require_positive("lr", *o.lr);
    require_not_negative("lr_min", o.lr_min);
    require_fraction("warmup_ratio", o.warmup_ratio);
    if (o.warmup_steps) require_not_negative("warmup_steps", *o.warmup_steps);
}

void validate_optimizer(const TrainOptions& o) {
    require_not_negative("weight_decay", o.weight_decay);
    require_fraction("adam_beta1", o.adam_beta1);
    require_fraction("adam_beta2", o.adam_beta2);
    require_positive("adam_eps", o.adam_eps);
    require_not_negative("max_grad_norm", o.max_grad_norm);
    require_not_negative("min_8bit_size", o.min_8bit_size);
}

void validate_log(const TrainOptions& o) {
    require_positive("log_every", o.log_every);
    require_not_negative("eval_every", o.eval_every);
    require_not_negative("save_every", o.save_every);
    if (o.keep_last) require_positive("keep_last", *o.keep_last);
    if (!o.patience) return;
    require_positive("patience", *o.patience);
    require(o.eval_every > 0 && (!o.val_data.empty() || o.val_split > 0),
            "`patience` counts evaluations: it needs `eval_every` and `val_data` or `val_split`");
}

// Null where the option was not given, which a configuration file may hold too.
template <typename T>
nlohmann::ordered_json or_null(const std::optional<T>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

void save_data_options(const TrainOptions& o, nlohmann::ordered_json& to) {
    to["data"] = o.data;
    to["val_data"] = o.val_data;
    to["val_split"] = o.val_split;
    to["limit"] = or_null(o.limit);
    to["template"] = o.template_name;
    to["chat_template"] = o.chat_template;
    to["last_answer_only"] = o.last_answer_only;
    to["text_field"] = o.text_field;
    to["data_format"] = option_text(kDataFormats, o.format);
    to["documents"] = option_text(kDocuments, o.documents);
    to["output"] = o.output;
    to["overwrite"] = o.overwrite;
    to["max_length"] = o.max_length;
    to["on_long"] =
        o.on_long_given ? nlohmann::ordered_json(option_text(kOnLong, o.on_long)) : nlohmann::ordered_json();
    to["packing"] = o.packing;
    to["train_on_prompt"] = o.train_on_prompt;
}

void save_lora_options(const TrainOptions& o, nlohmann::ordered_json& to) {
    to["train"] = option_text(kTrainKinds, o.train);
    to["from_scratch"] = o.from_scratch;
    to["lora_r"] = o.lora.r;
    to["lora_alpha"] = o.lora.alpha;
    to["lora_dropout"] = o.lora.dropout;
    to["rslora"] = o.lora.rslora;
    to["adapter_dtype"] = option_text(kAdapterDTypes, o.lora.adapter_dtype);
    to["lora_targets"] = o.lora.targets;
    to["lora_layers"] = o.lora.layers;
}

void save_loop_options(const TrainOptions& o, nlohmann::ordered_json& to) {
    to["batch_size"] = o.batch_size;
    to["grad_accum"] = o.grad_accum;
    to["global_batch_size"] = or_null(o.global_batch_size);
    to["epochs"] = o.epochs;
    to["max_steps"] = or_null(o.max_steps);
    to["lr"] = or_null(o.lr);
    to["lr_scheduler"] = option_text(kLrSchedulers, o.lr_scheduler);
    to["lr_min"] = o.lr_min;
    to["warmup_ratio"] = o.warmup_ratio;
    to["warmup_steps"] = or_null(o.warmup_steps);
    to["optim"] = option_text(kOptimKinds, o.optim);
    to["weight_decay"] = o.weight_decay;
    to["adam_beta1"] = o.adam_beta1;
    to["adam_beta2"] = o.adam_beta2;
    to["adam_eps"] = o.adam_eps;
    to["max_grad_norm"] = o.max_grad_norm;
    to["min_8bit_size"] = o.min_8bit_size;
    to["recompute"] = recompute_text(o.recompute);
    to["seed"] = o.seed;
}

void save_report_options(const TrainOptions& o, nlohmann::ordered_json& to) {
    to["log_every"] = o.log_every;
    to["eval_every"] = o.eval_every;
    to["save_every"] = o.save_every;
    to["keep_last"] = or_null(o.keep_last);
    to["patience"] = or_null(o.patience);
    to["resume"] = or_null(o.resume);
    to["accept_changes"] = o.accept_changes;
    to["show_samples"] = o.show_samples;
    to["plan"] = o.plan;
    to["print_graph"] = o.print_graph;
    to["profile"] = o.profile;
    to["quiet"] = o.quiet;
}

}  // namespace

void validate(const TrainOptions& options) {
    validate(options.base);
    validate(static_cast<const DataChoice&>(options));
    validate_data(options);
    validate_what_is_trained(options);
    validate_batch(options);
    validate_schedule(options);
    validate_optimizer(options);
    validate_log(options);
}

std::vector<std::string> settle(TrainOptions& options) {
    std::vector<std::string> notes;
    if (options.global_batch_size) options.grad_accum = *options.global_batch_size / options.batch_size;
    if (options.train == TrainKind::full && options.base.quant) {
        options.base.quant = std::nullopt;
        notes.push_back("every weight is trained, so the base is not quantized");
    }
    return notes;
}

double peak_lr(const TrainOptions& options, int64_t n_base_params) {
    const double lr = options.lr.value_or(n_base_params > 33'000'000'000 ? 1e-4 : 2e-4);
    require(options.lr_min <= lr, "`lr_min`: expected at most the learning rate ({}), got {}", lr, options.lr_min);
    return lr;
}

nlohmann::ordered_json options_json(const TrainOptions& options) {
    nlohmann::ordered_json json;
    save_options(options.base, json);
    save_data_options(options, json);
    save_lora_options(options, json);
    save_loop_options(options, json);
    save_report_options(options, json);
    return json;
}

}  // namespace ggq
