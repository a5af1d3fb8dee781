#include "models/merge/merge.h"

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/gguf.h"
#include "ggq/io/input_file.h"
#include "models/bnb_writer.h"
#include "models/convert/adapter_form.h"
#include "models/convert/gguf_model.h"
#include "models/merge/compare_models.h"
#include "models/merge/folded_source.h"
#include "models/merge/merged_source.h"
#include "models/merge/model_folder.h"
#include "models/option_checks.h"
#include "models/text/special_tokens.h"

namespace ggq {

namespace {

std::string text_of(MergeBase base) { return option_text(kMergeBases, base); }

// A report needs the tokenizer, the weights alone do not.
Model open_base(const MergeOptions& o) {
    const std::filesystem::path path = o.base.model;
    require(
        !is_gguf(path),
        "{}: adapters are merged into a base in Hugging Face layout, got a GGUF file; give the folder that it was made "
        "of, or make a GGUF of the adapter alone (convert)",
        path.string());
    const bool whole = !o.report.data.empty() || o.gguf || !is_folder(path) || is_there(path / kTokenizerJson);
    if (whole) return open_model(path);
    const LlamaConfig config = read_config(path);
    return {path, config, {}, checkpoint_source(path, config), config.warnings};
}

class Merge {
public:
    Merge(MergeOptions options, const Events& events)
        : options_(std::move(options)),
          events_(events),
          cpu_(make_cpu_backend(options_.base.threads)),
          model_(open_base(options_)) {
        events_.warn(model_.warnings);
        for (const AdapterChoice& choice : options_.adapters)
            adapters_.push_back(open_adapter(choice.path, &model_.config, events_.stop));
        choose_base();
    }

    MergeResult run() {
        std::optional<Dataset> data;
        if (!options_.report.data.empty())
            data.emplace(load_samples(options_.report.data, data_options(options_.report), model_, events_.stop));
        const MergedWeights weights = merged_onto(result_.onto);
        for (const WeightRow& row : weight_rows(weights.config())) {
            ++result_.n_weights;
            result_.n_merged += weights.changes(row);
        }
        result_.untied = weights.untied();
        if (options_.gguf) write_file(weights);
        else write_folder(weights);
        if (data) report(*data);
        return result_;
    }

private:
    std::vector<ScaledAdapter> scaled() const {
        std::vector<ScaledAdapter> list;
        for (size_t i = 0; i < adapters_.size(); ++i) list.push_back({&adapters_[i], options_.adapters[i].scale});
        return list;
    }

    // How the base was held in training: as the folder, the user or the first adapter that records it says.
    void choose_base() {
        take_stored_form(options_.base, model_.weights->quantized());
        trained_ = options_.base;
        if (!options_.base.quantized_in_checkpoint && !options_.base.given.any()) {
            trained_.quant = std::nullopt;
            take_recorded_form();
        }
        trained_.lift_f32 = false;
        const bool stored = options_.base.quantized_in_checkpoint;
        if (options_.onto == MergeBase::automatic)
            options_.onto = trained_.quant ? MergeBase::dequantized : MergeBase::original;
        require(
            options_.onto != MergeBase::original || !stored,
            "`merge_base` original: {} is already quantized as {}; give the folder from before it was quantized, or "
            "merge into what it restores to (dequantized)",
            options_.base.model, describe(trained_));
        require(options_.onto == MergeBase::original || trained_.quant,
                "`merge_base` {}: nothing says how the base was quantized in training; name it, as with `quant` nf4",
                text_of(options_.onto));
        result_.onto = options_.onto;
    }

    void take_recorded_form() {
        const BaseForm* found = nullptr;
        for (size_t i = 0; i < adapters_.size(); ++i) {
            const auto& record = adapters_[i].base;
            if (!record) continue;
            if (!found) trained_ = *(found = &record->form);
            else if (describe(*found) != describe(record->form))
                events_.warn(fmt::format("{} was trained on a base in {}, {} on one in {}", options_.adapters[0].path,
                                         describe(*found), options_.adapters[i].path, describe(record->form)));
        }
        trained_.quantized_in_checkpoint = false;
        if (!found && options_.onto == MergeBase::automatic)
            events_.warn(
                fmt::format("{} does not record how its base was quantized; it is merged into the original weights. If "
                            "it was trained "
                            "with QLoRA, name the form of its base, as with `quant` nf4",
                            options_.adapters[0].path));
    }

    MergedWeights merged_onto(MergeBase onto) const {
        BaseForm form = trained_;
        if (onto == MergeBase::original) form.quant = std::nullopt;
        return {*cpu_, model_.config, *model_.weights, form, scaled()};
    }

    MergedForm form_of(MergeBase onto) const {
        MergedForm form{options_.dtype, model_.config.dtype, std::nullopt, std::nullopt};
        if (onto == MergeBase::requantized) form.requantized = QuantForm{*trained_.quant, trained_.quant_spec};
        return form;
    }

    void write_file(const MergedWeights& weights) {
        write_gguf_model(*cpu_, weights, model_, {options_.output, *options_.gguf, options_.overwrite},
                         result_.rounding, events_.stop);
        tell_of_rounding(option_text(kGgufOutputTypes, *options_.gguf));
    }

    void write_folder(const MergedWeights& weights) {
        const MergedSource source(*cpu_, weights, form_of(result_.onto), &result_.rounding);
        const std::vector<WeightRow> rows = weight_rows(weights.config());
        std::vector<TensorGroup> groups;
        for (const WeightRow& row : rows) groups.push_back(group_of(row, source.type(row)));
        ModelFolder folder({options_.output, options_.overwrite, memory_size("shard_size", options_.shard_size)},
                           model_.folder, groups);
        for (const WeightRow& row : rows) {
            end_if_asked(events_.stop);
            write(row, source, folder.weights());
        }
        folder.commit(config_text(weights.config(), rows, source));
        tell_of_rounding(source.quantized() ? describe(*source.quantized()) : ggq::name(output_dtype()));
    }

    static TensorGroup group_of(const WeightRow& row, const TensorType& type) {
        if (info(type.dtype).quantized) return bnb_group(row, {type.dtype, type.quant});
        return {{{row.name, {nullptr, type.dtype, row.shape}}}, {}};
    }

    void write(const WeightRow& row, const MergedSource& source, ShardedWriter& to) const {
        Store store(*cpu_);
        const Buffer& buffer = store.declare(row.name, Kind::constant, source.type(row));
        store.allocate();
        source.load(row, store, buffer);
        if (info(buffer.type.dtype).quantized) write_bnb_weight(to, row, store, buffer, output_dtype());
        else to.write(row.name, 0, {static_cast<const std::byte*>(buffer.data), static_cast<size_t>(buffer.bytes())});
    }

    DType output_dtype() const { return options_.dtype.value_or(model_.config.dtype); }

    std::string config_text(const LlamaConfig& config, const std::vector<WeightRow>& rows,
                            const MergedSource& source) const {
        if (!source.quantized()) return config_text_for(config, output_dtype());
        std::vector<std::string> plain;
        for (const WeightRow& row : rows)
            if (row.role == WeightRole::linear && !info(source.type(row).dtype).quantized)
                plain.push_back(row.module());
        return config_text_for(config, output_dtype(),
                               bnb_config_json(*source.quantized(), output_dtype(), plain).dump());
    }

    void tell_of_rounding(const std::string& stored) const {
        if (const auto line = result_.rounding.warning(stored)) events_.warn(*line);
        if (result_.untied)
            events_.tell("embedding and head, which the base has as one, are two now: tie_word_embeddings is false");
    }

    // base + adapters, as training had them.
    AdaptedModel reference(const BaseOptions& base) const {
        Events silent;
        silent.stop = events_.stop;
        BaseOptions options = base;
        options.given.quant = true;
        if (options_.adapters.size() == 1) return open_adapted(options, options_.adapters, silent);
        AdaptedModel opened{open_model(options.model), std::nullopt, {}};
        std::vector<FoldedAdapter> parts;
        for (size_t i = 0; i < adapters_.size(); ++i) parts.push_back({adapters_[i], options_.adapters[i].scale});
        auto source = std::make_unique<FoldedSource>(std::move(opened.model.weights), opened.model.config, options,
                                                     options.compute(), std::move(parts), options.threads);
        opened.model.config = source->config();
        opened.model.weights = std::move(source);
        return opened;
    }

    void report(const Dataset& data) {
        BaseOptions base = options_.base;
        static_cast<BaseForm&>(base) = trained_;
        base.quantized_in_checkpoint = options_.base.quantized_in_checkpoint;
        base.compute_dtype = options_.base.compute_dtype;
        const auto backend = make_backend(base);
        settle_device(base, *backend);
        const Batches batches(data.train, batch_options(options_.report));
        const AdaptedModel opened = reference(base);
        BaseForm plain;
        plain.compute_dtype = base.compute_dtype;
        const auto add = [&](MergeBase onto, const AdaptedModel& merged) {
            result_.reports.push_back(
                {onto, compare_models(*backend, {opened, base}, {merged, plain}, batches, events_.stop)});
        };
        add_written(add);
        if (!options_.compare_bases) return;
        for (const MergeBase onto : {MergeBase::dequantized, MergeBase::original, MergeBase::requantized}) {
            const bool stored = options_.base.quantized_in_checkpoint;
            const bool can = onto == MergeBase::original ? !stored : trained_.quant.has_value();
            if (onto == result_.onto || !can) continue;
            const MergedWeights weights = merged_onto(onto);
            auto source = std::make_unique<MergedSource>(*cpu_, weights, form_of(onto));
            add(onto, {{model_.folder, weights.config(), {}, std::move(source), {}}, {}, {}});
        }
    }

    // A file for llama.cpp is not read again: the same rounding is made in memory.
    void add_written(const std::function<void(MergeBase, const AdaptedModel&)>& add) const {
        if (!options_.gguf) return add(result_.onto, {open_model(options_.output), {}, {}});
        const MergedWeights weights = merged_onto(result_.onto);
        MergedForm form = form_of(result_.onto);
        form.gguf = options_.gguf;
        add(result_.onto,
            {{model_.folder, weights.config(), {}, std::make_unique<MergedSource>(*cpu_, weights, form), {}}, {}, {}});
    }

    MergeOptions options_;
    const Events& events_;
    std::unique_ptr<Backend> cpu_;
    Model model_;
    std::deque<Adapter> adapters_;  // pointed to
    BaseForm trained_;
    MergeResult result_;
};

}  // namespace

void validate(const MergeOptions& options) {
    validate(options.base);
    require(!options.adapters.empty(), "`adapter`: expected one adapter or more, got none");
    for (const AdapterChoice& adapter : options.adapters)
        require(std::isfinite(adapter.scale), "`adapter` {}: expected a finite scale, got {}", adapter.path,
                adapter.scale);
    require(!options.gguf || (options.onto != MergeBase::requantized && !options.dtype),
            "`gguf`: expected neither `dtype` nor `merge_base` requantized beside it; the type of the file is its own");
    require(memory_size("shard_size", options.shard_size) > 0, "`shard_size`: expected a size above 0, got {}",
            options.shard_size);
    if (!options.report.data.empty()) validate(options.report);
}

MergeResult run_merge(MergeOptions options, const Events& events) {
    validate(options);
    return Merge(std::move(options), events).run();
}

}  // namespace ggq
