#include "examples/support/flags.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "examples/support/flag_groups.h"
#include "examples/support/memory_picture.h"
#include "ggq/gpu_table.h"
#include "models/shapes.h"

namespace ggq {

namespace {

using Takes = Flag::Takes;

// A switch of another program that stands for one value of ours.
void switch_for(FlagTable& table, const std::string& name, const std::string& flag, const Strings& if_true,
                const Strings& if_false = {}) {
    table.translated(name, flag, Takes::perhaps_a_value,
                     [=](const Strings& values) { return read_switch(name, values) ? if_true : if_false; });
}

void quantization_flags(FlagTable& t, BaseOptions& o, const std::string& fallback) {
    t.group("quantization and numbers");
    Flag& quant = t.choice("--quant", kQuantNames, o.quant, "format of the base's linears; none: as in the file",
                           {"--bnb_4bit_quant_type"});
    quant.given = &o.given.quant;
    quant.fallback = fallback;
    t.add("--quant-block", "64|128|256", o.quant_spec.block, "weights that share a scale").given = &o.given.block;
    t.add("--double-quant", o.quant_spec.double_quant, "quantize the scales too",
          {"--bnb_4bit_use_double_quant", "--use_bnb_nested_quant"})
        .given = &o.given.double_quant;
    t.add("--quant-only-adapted", o.quant_only_adapted, "leave linears without an adapter as they are").given =
        &o.given.only_adapted;
    t.choice("--compute-dtype", kComputeDTypes, o.compute_dtype,
             "type of activations; auto is bf16 on a GPU (f16 where it has none), f32 on the CPU",
             {"--dtype", "--torch_dtype", "--bnb_4bit_compute_dtype"});
    t.add("--tf32", o.tf32, "f32 products on a GPU may round their factors to TF32");
    t.add("--lift-f32", o.lift_f32, "norms, embedding and head in f32, whatever the checkpoint says");
    switch_for(t, "--load_in_4bit", "--quant", {"nf4"});
    switch_for(t, "--load_in_8bit", "--quant", {"int8"});
    switch_for(t, "--bf16", "--compute-dtype", {"bf16"});
    switch_for(t, "--fp16", "--compute-dtype", {"f16"});
}

}  // namespace

void machine_flags(FlagTable& t, BaseOptions& o) {
    t.group("machine");
    t.add("--device", "auto|cpu|cuda|cuda:N", o.device, "where to run; auto is a GPU if there is one");
    t.add("--threads", "N", o.threads, "threads of the CPU").fallback = "one a core";
    t.add("--gpu-memory", "SIZE", o.gpu_memory, "the most to hold on the GPU, the driver's part included, as 24GiB")
        .fallback = "all of it";
    if (const char* file = std::getenv("GGQ_GPU_TABLE")) o.gpu_table = file;
    t.add("--gpu-table", "FILE.json", o.gpu_table, "costs and choices among kernels of the GPU, as `tune` writes them")
        .fallback = "GGQ_GPU_TABLE, else those that are built in";
    t.choice("--pager", kPagers, o.pager,
             "how what has no room on the GPU moves: pinned memory with copies, or unified memory with prefetch");
}

void model_flag(FlagTable& t, BaseOptions& o) {
    t.add("-m, --model", "PATH", o.model, "model folder (config.json, safetensors, tokenizer.json) or GGUF file",
          {"--model_name_or_path"});
    t.require("--model");
}

namespace {

// How the records of a file become rows of tokens.
void data_flags(FlagTable& t, DataChoice& o) {
    t.list("-d, --data", "PATHS", o.data,
           "data: files of JSON, JSON lines, CSV, or plain text (.txt), or a folder with train.jsonl and valid.jsonl",
           {"--dataset_name", "-f", "--file"});
    t.require("--data");
    t.add("--limit", "N", o.limit, "take the first N samples").fallback = "all";
    t.add("--template", "NAME", o.template_name,
          "template of the data: alpaca, alpaca-short (without a preamble), completion, text, chat (the model's own "
          "chat template), or a chat template by name: chatml, llama2, llama3, mistral, vicuna, zephyr")
        .fallback = "by the data's form";
    t.add("--chat-template", "PATH", o.chat_template, "a file of Jinja as the chat template", {"--chat_template_path"});
    t.add("--last-answer-only", o.last_answer_only, "of a conversation only the last answer carries loss");
    t.add("--text-field", "NAME", o.text_field, "the data is plain text under this key", {"--dataset_text_field"});
    t.choice("--data-format", kDataFormats, o.format, "what the data files are, whatever their names end in");
    t.choice("--documents", kDocuments, o.documents,
             "what a document of a plain text file is; a line <|endoftext|> ends one in any case");
    t.add("-c, --max-length", "N", o.max_length, "tokens in a row", {"--max_seq_length"});
    t.choice("--on-long", kOnLong, o.on_long,
             "what becomes of a longer sample; documents of plain text files are split unless this is given")
        .given = &o.on_long_given;
    t.add("--packing", o.packing, "several samples in a row, which do not see each other");
    t.add("--train-on-prompt", o.train_on_prompt, "loss on the prompt too");
    for (const char* name : {"--mask_prompt", "--completion_only_loss", "--assistant_only_loss"})
        switch_for(t, name, "--train-on-prompt", {"false"}, {"true"});
}

void batch_size_flag(FlagTable& t, DataChoice& o) {
    t.add("-b, --batch-size", "N", o.batch_size, "rows in a micro-batch", {"--per_device_train_batch_size"});
}

void training_data_flags(FlagTable& t, TrainOptions& o) {
    t.group("model and data");
    model_flag(t, o.base);
    data_flags(t, o);
    t.list("--val-data", "PATHS", o.val_data, "validation data");
    t.add("--val-split", "F", o.val_split, "share of the data kept for validation");
    t.add("--show-samples", "N", o.show_samples, "show N samples as text, ids, mask and positions");
    t.add(
        "--lint", o.lint,
        "look for what is wrong with the data and end: a finding a line with file, line and kind; exit code 1 if there "
        "are errors");
    t.add("--json", o.json, "what --lint finds as one line of JSON");
    t.group("output");
    t.add("-o, --output", "DIR", o.output, "folder of the result, empty or new", {"--output_dir", "--adapter-path"});
    t.add("--overwrite", o.overwrite, "write into a folder that has content; a run that was there is replaced");
    t.require("--output", {"--plan", "--print-graph", "--lint"});
}

// Of transformers' flag a single number is a layer; of ours it counts the last layers.
Strings layer_numbers(const Strings& values) {
    const bool single = values.size() == 1 && values[0].find_first_not_of("0123456789") == std::string::npos;
    return single ? Strings{values[0] + "-" + values[0]} : values;
}

void adapter_flags(FlagTable& t, TrainOptions& o) {
    t.group("what is trained");
    t.choice("--train", kTrainKinds, o.train, "an adapter, or every weight", {"--fine-tune-type"});
    t.add("--from-scratch", o.from_scratch,
          "random weights: the model folder needs only config.json and tokenizer.json");
    t.add("--lora-r", "N", o.lora.r, "rank of the adapter", {"--lora_rank"});
    t.add("--lora-alpha", "X", o.lora.alpha, "scale of the adapter: alpha / r");
    t.add("--lora-dropout", "P", o.lora.dropout, "share of the adapter's inputs set to zero");
    t.add("--rslora", o.lora.rslora, "scale of the adapter: alpha / sqrt(r)", {"--use_rslora"});
    t.choice("--adapter-dtype", kAdapterDTypes, o.lora.adapter_dtype, "type of the adapter's weights");
    t.list("--lora-targets", "LIST|REGEX|all-linear", o.lora.targets, "linears with an adapter",
           {"--lora_target_modules", "--lora-modules"});
    t.list("--lora-layers", "N|LIST", o.lora.layers, "8: the last 8 layers; 4-7,12: these", {"--num-layers"}).fallback =
        "all";
    t.translated("--layers_to_transform", "--lora-layers", Takes::values, layer_numbers);
}

void batch_flags(FlagTable& t, TrainOptions& o) {
    t.group("batch and length of the run");
    batch_size_flag(t, o);
    t.add("--grad-accum", "N", o.grad_accum, "micro-batches in an update", {"--gradient_accumulation_steps"});
    t.add("--global-batch-size", "N", o.global_batch_size, "rows in an update; gives --grad-accum");
    t.add("--epochs", "N", o.epochs, "times through the data", {"--num_train_epochs"});
    t.add("--max-steps", "N", o.max_steps, "updates, whatever --epochs says", {"--iters"});
    t.add("-s, --seed", "N", o.seed, "seed of initial weights, order, dropout");
}

void recompute_flag(FlagTable& t, RecomputeChoice& recompute) {
    const std::string values = option_list(kRecomputes) + "|partial:K";
    Flag row{.value = values,
             .meaning =
                 "what the backward pass computes again: as little as fits; nothing; no product or attention; all "
                 "but what passes between layers; that in the first K layers",
             .fallback = recompute_text(recompute)};
    t.add_row("--recompute", {}, row).set = [&recompute, values](const Strings& given) {
        const auto choice = find_recompute(given.back());
        if (!choice) throw UsageError("--recompute: expected " + values + ", got '" + given.back() + "'");
        recompute = *choice;
    };
}

void optimizer_flags(FlagTable& t, TrainOptions& o) {
    t.group("optimizer");
    t.add("--lr", "X", o.lr, "learning rate", {"--learning_rate"}).fallback = "2e-4; 1e-4 above 33B";
    t.choice("--lr-scheduler", kLrSchedulers, o.lr_scheduler, "how the rate falls", {"--lr_scheduler_type"});
    t.add("--lr-min", "X", o.lr_min, "rate at the end");
    t.add("--warmup-ratio", "F", o.warmup_ratio, "share of the updates in which the rate rises");
    t.add("--warmup-steps", "N", o.warmup_steps, "updates in which the rate rises, whatever the ratio says");
    t.choice("--optim", kOptimKinds, o.optim, "optimizer and how it stores its state");
    t.add("--weight-decay", "X", o.weight_decay, "decoupled weight decay");
    t.add("--adam-beta1", "X", o.adam_beta1, "decay of the first moment");
    t.add("--adam-beta2", "X", o.adam_beta2, "decay of the second moment");
    t.add("--adam-eps", "X", o.adam_eps, "keeps the division finite", {"--adam_epsilon"});
    t.add("--max-grad-norm", "X", o.max_grad_norm, "clip the gradient to this norm; 0: do not");
    t.add("--min-8bit-size", "N", o.min_8bit_size, "8-bit optimizer: smaller tensors keep 32 bits");
    recompute_flag(t, o.recompute);
    for (const char* name : {"--grad-checkpoint", "--gradient_checkpointing"})
        switch_for(t, name, "--recompute", {"full"}, {"none"});
}

void report_flags(FlagTable& t, TrainOptions& o) {
    t.group("log, evaluate, save");
    t.add("--log-every", "N", o.log_every, "updates between log entries", {"--logging_steps", "--steps-per-report"});
    t.add("--eval-every", "N", o.eval_every, "updates between evaluations; 0: at the end only", {"--eval_steps"});
    t.add("--save-every", "N", o.save_every, "updates between checkpoints; 0: at the end only", {"--save_steps"});
    t.add("--keep-last", "N", o.keep_last, "checkpoints to keep", {"--save_total_limit"}).fallback = "all";
    t.add("--patience", "N", o.patience, "end after N evaluations without a better loss").fallback = "off";
    Flag& resume = t.add("--resume", "PATH", o.resume, "go on from a checkpoint, the newest in the output folder",
                         {"--resume_from_checkpoint"});
    resume.takes = Takes::perhaps_a_value;
    // "--resume_from_checkpoint True" is how transformers says "the newest".
    resume.set = [&o](const Strings& values) {
        const std::string& word = values.back();
        if (word == "False" || word == "false") o.resume.reset();
        else o.resume = word == "True" || word == "true" ? "" : word;
    };
    t.add("--accept-changes", o.accept_changes, "resume although data, model or settings changed");
    t.add("--plan", o.plan, "print the memory plan and end");
    t.add("--print-graph", o.print_graph, "print the graph of a training step and end");
    t.add("--profile", o.profile, "print the time that each op took");
    t.add("--quiet", o.quiet, "no progress, only warnings and errors");
}

std::optional<double> number_in(std::string_view text) {
    double number = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
    return number;
}

// "PATH" or "PATH:SCALE"
AdapterChoice read_adapter(const std::string& text) {
    const size_t colon = text.rfind(':');
    const std::optional<double> scale =
        colon == std::string::npos ? std::nullopt : number_in(std::string_view(text).substr(colon + 1));
    return scale ? AdapterChoice{text.substr(0, colon), *scale} : AdapterChoice{text};
}

// "15043+1.5", "15043-inf", as llama.cpp has it.
LogitBias read_logit_bias(const std::string& text) {
    const size_t sign = text.find_first_of("+-");
    LogitBias bias;
    const std::optional<double> id = number_in(std::string_view(text).substr(0, sign));
    const std::optional<double> x =
        sign == std::string::npos ? std::nullopt : number_in(std::string_view(text).substr(sign + 1));
    if (!id || !x || *id < 0 || *id > INT32_MAX || *id != std::floor(*id))
        throw UsageError("--logit-bias: expected a token's number and what is added, as 15043+1.5 or 15043-inf, got '" +
                         text + "'");
    return {static_cast<int32_t>(*id), text[sign] == '-' ? -*x : *x};
}

// llama.cpp has "--lora-scaled PATH:SCALE" and, of old, "--lora-scaled PATH SCALE".
Strings join_scales(const Strings& values) {
    Strings joined;
    for (const std::string& value : values) {
        if (!joined.empty() && number_in(value)) joined.back() += ":" + value;
        else joined.push_back(value);
    }
    return joined;
}

}  // namespace

void adapter_flag(FlagTable& t, std::vector<AdapterChoice>& adapters) {
    Flag row{.value = "PATH",
             .meaning = "adapter folder; PATH:SCALE weakens or strengthens it; of several the updates add up"};
    t.add_row("--adapter", {"--lora", "--adapter-path"}, row).set = [&adapters](const Strings& values) {
        adapters.clear();
        for (const std::string& value : values) adapters.push_back(read_adapter(value));
    };
    t.translated("--lora-scaled", "--adapter", Takes::values, join_scales);
}

namespace {

void prompt_flags(FlagTable& t, GenerateOptions& o) {
    t.group("model and prompt");
    model_flag(t, o.base);
    adapter_flag(t, o.adapters);
    t.add("-p, --prompt", "TEXT", o.prompt, "text to go on from");
    t.add("--chat", o.chat,
          "a conversation: lines of stdin are what you say, /help what else can be entered; through the model's chat "
          "template or the one that --template names",
          {"--conversation"});
    t.add("--batch", "FILE", o.batch,
          "answer every prompt of a file, JSON lines with a key \"prompt\" or \"messages\", in JSON lines of the same "
          "order");
    t.add("-b, --batch-size", "N", o.batch_size, "prompts of --batch that are answered at a time");
    t.add("--template", "NAME", o.template_name,
          "wrap the prompt as an instruction: alpaca, or alpaca-short without a preamble; or put it into a chat "
          "template: "
          "chat (the model's own), chatml, llama2, llama3, mistral, vicuna, zephyr")
        .fallback = "the prompt as it is";
    t.add("--chat-template", "PATH", o.chat_template, "a file of Jinja as the chat template", {"--chat_template_path"});
    t.add("--system", "TEXT", o.system, "what a chat template puts before the prompt as the system's message");
    t.add("-n, --max-new-tokens", "N", o.max_new_tokens, "tokens to generate at most", {"--max-tokens"});
    t.add("-c, --max-length", "N", o.max_length, "tokens of prompt and answer together", {"--max_seq_length"})
        .fallback = "what they need, of a conversation 4096";
    t.add("--plan", o.plan,
          "print the memory plan and end; reads no weights of the base, and without a prompt plans for an answer");
    t.require("--prompt", {"--plan", "--batch", "--chat"});
}

void sampling_flags(FlagTable& t, GenerateOptions& o) {
    t.group("sampling");
    t.add("--temp", "X", o.sampler.temperature, "0: always the likeliest token", {"--temperature"});
    t.add("--top-k", "N", o.sampler.top_k, "only the N likeliest tokens; 0: all");
    t.add("--top-p", "P", o.sampler.top_p, "only the likeliest tokens that make up P; 1: all");
    t.add("--min-p", "P", o.sampler.min_p, "only tokens at least P times as likely as the likeliest; 0: all");
    t.add("--repeat-penalty", "X", o.sampler.repeat_penalty,
          "above 1: tokens that are there already become less likely");
    t.add("--presence-penalty", "X", o.sampler.presence_penalty,
          "taken off the logit of tokens that are there already");
    t.add("--frequency-penalty", "X", o.sampler.frequency_penalty, "the same for each time that they are there");
    t.add("-s, --seed", "N", o.sampler.seed, "seed of the draws");
    Flag bias{.value = "ID+X|ID-X",
              .meaning = "add X to the logit of a token, 15043-inf: never; may be given several times"};
    t.add_row("--logit-bias", {"-l"}, bias).set = [&o](const Strings& values) {
        o.logit_bias.clear();
        for (const std::string& value : values) o.logit_bias.push_back(read_logit_bias(value));
    };
    t.add_row("--stop", {}, {.value = "TEXT", .meaning = "end at this text; may be given several times"}).set =
        [&o](const Strings& values) { o.stop = values; };
    t.choice("--kv-dtype", kKvDTypes, o.kv_dtype, "type of the key and value cache");
}

// What generate and evaluate end with.
template <typename Options>
void trained_model_flags(FlagTable& t, Options& o) {
    quantization_flags(t, o.base, "as the folder or the adapter has it, else nf4");
    machine_flags(t, o.base);
    t.add("--profile", o.profile, "print the time that each op took");
    t.add("--quiet", o.quiet, "no notes, only warnings and errors");
}

void picture_flag(FlagTable& t, std::string& picture) {
    Flag row{.value = "FILE.png|FILE.svg",
             .meaning = "draw the memory over the planned steps of an update; the ending says how"};
    t.add_row("--picture", {}, row).set = [&picture](const Strings& values) {
        if (!is_picture(values.back()))
            throw UsageError("--picture: expected a file that ends in .png or .svg, got '" + values.back() +
                             "'; name one such as plan.svg");
        picture = values.back();
    };
}

}  // namespace

FlagTable train_flags(TrainOptions& options) {
    FlagTable table("train", "fine-tunes a Llama over a quantized base, or trains every weight");
    training_data_flags(table, options);
    quantization_flags(table, options.base, "as the folder has it, else nf4");
    adapter_flags(table, options);
    batch_flags(table, options);
    optimizer_flags(table, options);
    report_flags(table, options);
    machine_flags(table, options.base);
    return table;
}

FlagTable plan_flags(PlanFlags& options) {
    TrainOptions& train = options.request.train;
    FlagTable table("plan", "what a training run would take, without running it");
    table.group("model");
    table.add("-m, --model", "PATH", train.base.model, "model folder, of which config.json is read, or GGUF file",
              {"--model_name_or_path"});
    table.add("--shape", "NAME", options.request.shape, shape_list());
    table.add("-c, --max-length", "N", train.max_length, "tokens in a row", {"--max_seq_length"});
    batch_size_flag(table, train);
    table.add("--grad-accum", "N", train.grad_accum, "micro-batches in an update", {"--gradient_accumulation_steps"});
    quantization_flags(table, train.base, "as the folder has it, else nf4");
    adapter_flags(table, train);
    table.group("optimizer");
    table.choice("--optim", kOptimKinds, train.optim, "optimizer and how it stores its state");
    recompute_flag(table, train.recompute);
    machine_flags(table, train.base);
    table
        .add("--gpu", "NAME", options.request.gpu,
             "a card that is not there to plan for: " + gpu_list() + ", or a FILE.json of tune")
        .fallback = "the device";
    table.add("--json", options.json, "the plan as one line of JSON");
    picture_flag(table, options.picture);
    return table;
}

FlagTable generate_flags(GenerateOptions& options) {
    FlagTable table("generate", "lets a Llama, with or without an adapter, go on from a prompt");
    prompt_flags(table, options);
    sampling_flags(table, options);
    trained_model_flags(table, options);
    return table;
}

FlagTable evaluate_flags(EvaluateOptions& options) {
    FlagTable table("evaluate",
                    "loss and perplexity of data under a Llama, with or without an adapter, or the share of questions "
                    "that it answers rightly");
    table.group("model and data");
    model_flag(table, options.base);
    adapter_flag(table, options.adapters);
    data_flags(table, options);
    batch_size_flag(table, options);
    table.group("what is measured");
    table.choice("--task", kEvalTasks, options.task,
                 "loss; choices: questions with choices as of MMLU (CSV, JSON); answers: sums as of GSM8K, by the last "
                 "number of a text that is generated");
    table.add("--shots", "N", options.shots, "of a task: questions with their answers in front of each");
    table
        .add("--shots-data", "PATH", options.shots_data,
             "where they are from: a file, or a folder with SUBJECT_dev.csv for SUBJECT_test.csv")
        .fallback = "the first N of each file, which are then not asked";
    table.add("--system", "TEXT", options.system,
              "of a task: what a chat template puts before as the system's message");
    table.add("-n, --max-new-tokens", "N", options.max_new_tokens, "of a task: tokens of an answer at most",
              {"--max-tokens"});
    table.add("--json", options.json, "the result as one line of JSON");
    trained_model_flags(table, options);
    return table;
}

}  // namespace ggq
