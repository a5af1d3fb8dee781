#include "models/adapted_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "ggq/transfer.h"
#include "models/adapter_mix.h"
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
    std::vector<FoldedAdapter> parts;
    for (size_t i = 0; i < opened.parts.size(); ++i) {
        Adapter& adapter = opened.parts[i];
        opened.is_whole.push_back(is_plain_lora(adapter));
        if (opened.is_whole.back()) continue;
        parts.push_back({take_unplain_part(adapter), opened.choices[i].scale});
        const Adapter& part = parts.back().adapter;
        events.tell(fmt::format("{}: {} modules ({}) are computed into the base and held as {}", opened.choices[i].path,
                                part.modules.size() + part.whole.size(),
                                part.config.use_dora ? "DoRA" : "of head, embedding or as a whole",
                                name(options.compute())));
    }
    if (parts.empty()) return;
    auto source = std::make_unique<FoldedSource>(std::move(opened.model.weights), opened.model.config, options,
                                                 options.compute(), std::move(parts), options.threads);
    opened.model.config = source->config();
    opened.model.weights = std::move(source);
}

// What check_adapter() says of a single adapter, said of each that is mixed.
void check_modules(const Adapter& adapter, const std::string& where, const LlamaConfig& config) {
    const std::vector<std::string> linears = linear_modules(config);
    for (const std::string& module : linears)
        require(!module_matches(module, adapter.config) || adapter.modules.contains(module) || adapter.modules.empty(),
                "{}: adapter_config.json names {}, but the file has no tensors for it", where, module);
    for (const auto& [module, tensors] : adapter.modules)
        require(std::ranges::find(linears, module) != linears.end() && module_matches(module, adapter.config),
                "{}: the adapter has tensors for {}, which this model lacks or adapter_config.json does not target",
                where, module);
}

std::vector<ScaledAdapter> scaled(const AdaptedModel& opened, const std::vector<double>& scales) {
    std::vector<ScaledAdapter> list;
    for (size_t i = 0; i < scales.size(); ++i) list.push_back({&opened.parts[i], scales[i]});
    return list;
}

// One is taken as it is, several are mixed.
void settle_adapter(AdaptedModel& opened) {
    if (opened.parts.size() == 1) {
        opened.adapter = opened.parts[0];
        opened.choice = opened.choices[0];
        return;
    }
    std::vector<double> scales;
    for (size_t i = 0; i < opened.parts.size(); ++i) {
        check_modules(opened.parts[i], opened.choices[i].path, opened.model.config);
        scales.push_back(opened.choices[i].scale);
        opened.choice.path += (i > 0 ? " + " : "") + opened.choices[i].path;
    }
    opened.adapter = mix_adapters(scaled(opened, scales));
}

void open_one(AdaptedModel& opened, BaseOptions& options, const AdapterChoice& choice, const Events& events) {
    const bool first = opened.parts.empty();
    opened.choices.push_back(choice);
    const Adapter& adapter = opened.parts.emplace_back(open_adapter(choice.path, &opened.model.config));
    if (!adapter.base) {
        events.tell(fmt::format("{} does not record how its base was quantized; the base is {}", choice.path,
                                describe(options)));
        return;
    }
    if (!adapter.files_checked)
        events.warn(
            fmt::format("{}/{} has no hashes of its files, so they are not checked", choice.path, kBaseRecordFile));
    if (first) take_recorded_form(options, *adapter.base, events);
    else if (describe(adapter.base->form) != describe(options))
        events.warn(fmt::format("{} was trained on a base in {}, this one is in {}; answers will differ", choice.path,
                                describe(adapter.base->form), describe(options)));
}

}  // namespace

void validate(const std::vector<AdapterChoice>& adapters) {
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

void AdaptedModel::set_scales(Store& store, const Llama& llama, const std::vector<double>& scales) const {
    require(scales.size() == parts.size(), "`adapter`: expected {} scales, one an adapter, got {}", parts.size(),
            scales.size());
    for (size_t i = 0; i < scales.size(); ++i) {
        require(std::isfinite(scales[i]), "`adapter` {}: expected a finite scale, got {}", choices[i].path, scales[i]);
        require(
            is_whole[i],
            "`adapter` {}: it is part of the base (DoRA, head, embedding or whole modules), so that its scale cannot "
            "change",
            choices[i].path);
    }
    const Adapter mixed = mix_adapters(scaled(*this, scales));
    for (const Linear* l : llama.adapted) {
        const LoraTensors& t = mixed.modules.at(l->module);
        require(l->scaling != 0, "`adapter` {}: its scale was 0 from the start; begin with another one", choice.path);
        const auto* values = static_cast<const float*>(t.b.data);
        std::vector<float> b(values, values + t.b.shape.n_elems());
        for (float& value : b) value = static_cast<float>(value / l->scaling);
        write_converted(store, *l->b, DType::f32, b.data());
    }
}

void AdaptedModel::check_base(const Events& events) const {
    std::string hash;
    for (size_t i = 0; i < parts.size(); ++i) {
        if (!parts[i].base) continue;
        const BaseRecord& record = *parts[i].base;
        if (hash.empty()) hash = model.hash(events.stop);
        if (record.hash != hash)
            events.warn(fmt::format("the adapter {}was trained on another base ({}, hash {}) than this one (hash {})",
                                    parts.size() > 1 ? choices[i].path + " " : "", shown(record.path),
                                    shown(record.hash), hash));
    }
}

AdaptedModel open_adapted(BaseOptions& options, const std::vector<AdapterChoice>& adapters, const Events& events) {
    AdaptedModel opened{open_model(options.model), std::nullopt, {}, {}, {}, {}};
    take_stored_form(options, opened.model.weights->quantized());
    if (opened.model.weights->packed()) take_packed_form(options);
    for (const AdapterChoice& choice : adapters) open_one(opened, options, choice, events);
    if (adapters.empty()) return opened;
    fold(opened, options, events);
    settle_adapter(opened);
    return opened;
}

}  // namespace ggq
