#include "models/adapted_model.h"

#include <fmt/format.h>

#include <cmath>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/convert/adapter_form.h"
#include "models/lora.h"
#include "models/merge/folded_source.h"

namespace ggq {

namespace {

void take_recorded_form(BaseOptions& options, const BaseRecord& record, const Events& events) {
    BaseForm recorded = record.form;
    recorded.compute_dtype = options.compute_dtype;  // any device may answer
    recorded.lift_f32 |= options.lift_f32;
    recorded.quantized_in_checkpoint = false;  // of this base that is known already
    if (!options.given.any() && !options.quantized_in_checkpoint) static_cast<BaseForm&>(options) = recorded;
    options.lift_f32 = recorded.lift_f32;
    if (describe(record.form) != describe(options))
        events.warn(fmt::format("the adapter was trained on a base in {}, this one is in {}; answers will differ",
                                describe(record.form), describe(options)));
}

// What cannot be computed beside the base becomes part of it.
void fold(AdaptedModel& opened, const BaseOptions& options, const Events& events) {
    Adapter& adapter = *opened.adapter;
    if (is_plain_lora(adapter)) return;
    std::vector<FoldedAdapter> parts;
    parts.push_back({take_unplain_part(adapter), opened.choice.scale});
    const size_t n = parts[0].adapter.modules.size() + parts[0].adapter.whole.size();
    auto source = std::make_unique<FoldedSource>(std::move(opened.model.weights), opened.model.config, options,
                                                 options.compute(), std::move(parts), options.threads);
    opened.model.config = source->config();
    opened.model.weights = std::move(source);
    events.tell(fmt::format("{}: {} modules ({}) are computed into the base and held as {}", opened.choice.path, n,
                            adapter.config.use_dora ? "DoRA" : "of head, embedding or as a whole",
                            name(options.compute())));
}

}  // namespace

void validate(const std::vector<AdapterChoice>& adapters) {
    require(adapters.size() <= 1, "`adapter`: expected one adapter, got {}", adapters.size());
    for (const AdapterChoice& adapter : adapters)
        require(std::isfinite(adapter.scale), "`adapter` {}: expected a finite scale, got {}", adapter.path,
                adapter.scale);
}

std::unique_ptr<Llama> AdaptedModel::declare(Store& store, const BaseForm& form) const {
    WeightChoice weights(form);
    weights.quant_only_adapted &= adapter.has_value();
    weights.adapter_dtype = form.compute();
    const bool beside = adapter && !adapter->modules.empty();
    if (beside) weights.lora = adapter->config;
    auto llama = declare_llama(store, model, weights);
    if (beside) check_adapter(*llama, *adapter, choice.path);
    for (Linear* l : llama->adapted) l->scaling *= choice.scale;
    return llama;
}

void AdaptedModel::load(Store& store, const Llama& llama, const StopAsked& stop) const {
    load_weights(store, llama, *model.weights, stop);
    if (adapter && !adapter->modules.empty()) load_adapter(store, llama, *adapter);
}

void AdaptedModel::check_base(const Events& events) const {
    if (!adapter || !adapter->base) return;
    const BaseRecord& record = *adapter->base;
    const std::string hash = model.hash(events.stop);
    if (record.hash != hash)
        events.warn(fmt::format("the adapter was trained on another base ({}, hash {}) than this one (hash {})",
                                shown(record.path), shown(record.hash), hash));
}

AdaptedModel open_adapted(BaseOptions& options, const std::vector<AdapterChoice>& adapters, const Events& events) {
    AdaptedModel opened{open_model(options.model), std::nullopt, {}};
    take_stored_form(options, opened.model.weights->quantized());
    if (opened.model.weights->packed()) take_packed_form(options);
    if (adapters.empty()) return opened;
    opened.choice = adapters[0];
    opened.adapter.emplace(open_adapter(opened.choice.path, &opened.model.config));
    if (const auto& record = opened.adapter->base) {
        if (!opened.adapter->files_checked)
            events.warn(fmt::format("{}/{} has no hashes of its files, so they are not checked", opened.choice.path,
                                    kBaseRecordFile));
        take_recorded_form(options, *record, events);
    } else {
        events.tell(fmt::format("{} does not record how its base was quantized; the base is {}", opened.choice.path,
                                describe(options)));
    }
    fold(opened, options, events);
    return opened;
}

}  // namespace ggq
