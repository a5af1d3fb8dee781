#include "examples/support/export_flags.h"

#include "examples/support/flag_groups.h"
#include "models/option_names.h"

namespace ggq {

namespace {

void output_flags(FlagTable& t, std::string& output, bool& overwrite, std::string& shard_size) {
    t.group("output");
    t.add("-o, --output", "DIR", output, "folder of the result, empty or new", {"--output_dir"});
    t.require("--output");
    t.add("--overwrite", overwrite, "write into a folder that has content; a model that was there is replaced");
    t.add("--shard-size", "SIZE", shard_size, "bytes in a file of weights at most", {"--max_shard_size"});
}

void form_flags(FlagTable& t, BaseOptions& o, const std::string& meaning, const std::string& fallback) {
    Flag& quant = t.choice("--quant", kQuantNames, o.quant, meaning, {"--bnb_4bit_quant_type"});
    quant.given = &o.given.quant;
    quant.fallback = fallback;
    t.add("--quant-block", "64|128|256", o.quant_spec.block, "weights that share a scale").given = &o.given.block;
    t.add("--double-quant", o.quant_spec.double_quant, "the scales are quantized too",
          {"--bnb_4bit_use_double_quant", "--use_bnb_nested_quant"})
        .given = &o.given.double_quant;
}

void report_flags(FlagTable& t, MergeOptions& o) {
    t.group("report");
    t.add(
        "--report-data", "FILE", o.report.data,
        "measure the result against base + adapter on this text, JSON or JSONL: KL divergence, agreement, perplexity; "
        "both models are in memory for it");
    t.add("--limit", "N", o.report.limit, "of its samples the first N").fallback = "all";
    t.add("--template", "NAME", o.report.template_name, "template of the text, as of evaluate").fallback =
        "by the text's form";
    t.add("--chat-template", "PATH", o.report.chat_template, "a file of Jinja as the chat template",
          {"--chat_template_path"});
    t.add("--text-field", "NAME", o.report.text_field, "it is plain text under this key", {"--dataset_text_field"});
    t.add("-c, --max-length", "N", o.report.max_length, "tokens in a row", {"--max_seq_length"});
    t.choice("--on-long", kOnLong, o.report.on_long, "what becomes of a longer sample");
    t.add("-b, --batch-size", "N", o.report.batch_size, "rows at a time");
    t.add("--compare-bases", o.compare_bases, "measure too what the other bases of the merge would have given");
    t.choice("--compute-dtype", kComputeDTypes, o.base.compute_dtype, "type of activations");
    t.add("--json", o.json, "the result as one line of JSON");
}

}  // namespace

FlagTable merge_flags(MergeOptions& o) {
    o.report.batch_size = 1;
    o.report.train_on_prompt = true;  // every token counts
    FlagTable t("merge", "merges adapters into a model, one tensor at a time");
    t.group("model and adapters");
    model_flag(t, o.base);
    adapter_flag(t, o.adapters);
    t.require("--adapter");
    t.choice("--merge-base", kMergeBases, o.onto,
             "what the adapter is added to: the weights as the folder has them; as they were quantized in training, "
             "restored; or those, and the sum quantized again");
    form_flags(t, o.base, "how the base was quantized in training", "as the folder or the adapter has it");
    t.choice("--dtype", kOutputDTypes, o.dtype, "type of the weights that are written", {"--torch_dtype"});
    output_flags(t, o.output, o.overwrite, o.shard_size);
    report_flags(t, o);
    machine_flags(t, o.base);
    t.add("--quiet", o.quiet, "no notes, only warnings and errors");
    return t;
}

FlagTable quantize_flags(QuantizeOptions& o) {
    FlagTable t("quantize",
                "quantizes a model folder, one tensor at a time, and says how far that is from the original");
    t.group("model");
    model_flag(t, o.base);
    form_flags(t, o.base, "format of the linears", "as the folder has it, else nf4");
    t.choice(
        "--as", kQuantizedAs, o.as,
        "what is written: codes and scales as bitsandbytes stores them, or an ordinary folder of what they restore "
        "to");
    t.list("--skip", "LIST", o.skip, "linears that stay plain: names, beginnings or ends of names up to a dot",
           {"--llm_int8_skip_modules"})
        .fallback = "none; embedding and head always do";
    t.choice("--dtype", kOutputDTypes, o.dtype, "type of the weights that are written plain", {"--torch_dtype"});
    output_flags(t, o.output, o.overwrite, o.shard_size);
    t.group("machine");
    t.add("--threads", "N", o.base.threads, "threads of the CPU").fallback = "one a core";
    t.add("--json", o.json, "the errors as one line of JSON");
    t.add("--quiet", o.quiet, "no notes, only warnings and errors");
    return t;
}

FlagTable convert_flags(ConvertOptions& o) {
    FlagTable t("convert", "an adapter into the form of another program, read again and compared");
    t.add("--adapter", "PATH", o.adapter, "adapter of any form that is known", {"--lora", "--adapter-path"});
    t.require("--adapter");
    t.choice("--to", kAdapterForms, o.to, "the form: of PEFT, of mlx-lm, or of llama.cpp");
    t.require("--to");
    t.add("-o, --output", "PATH", o.output, "folder of the result, empty or new; of llama.cpp's form a file",
          {"--output_dir"});
    t.require("--output");
    t.add("--overwrite", o.overwrite, "write into a folder that has content, or over a file");
    t.add("-m, --model", "PATH", o.model, "model folder, of which config.json is read; llama.cpp's form needs it",
          {"--model_name_or_path"});
    t.choice("--gguf-type", kGgufOutputTypes, o.type, "type of the tensors of llama.cpp's form", {"--outtype"});
    t.add("--json", o.json, "the result as one line of JSON");
    t.add("--quiet", o.quiet, "no notes, only warnings and errors");
    return t;
}

}  // namespace ggq
