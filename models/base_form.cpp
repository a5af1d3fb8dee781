#include "models/base_form.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/io/json_fields.h"
#include "models/option_names.h"

namespace ggq {

namespace {

template <typename T, std::size_t N>
T named(const JsonFields& fields, const char* key, const OptionName<T> (&table)[N], const T& fallback) {
    if (!fields.find(key)) return fallback;
    const std::optional<T> found = find_option(table, fields.text_or(key, ""));
    if (!found) fields.refuse(key, ("one of " + option_list(table)).c_str());
    return *found;
}

}  // namespace

std::string describe(const QuantForm& form) {
    std::string text = option_text(kQuantNames, std::optional(form.dtype));
    if (form.dtype == DType::int8) return text;
    return text +
           fmt::format(", blocks of {}, {} scales", form.spec.block, form.spec.double_quant ? "double" : "single");
}

std::string describe(const BaseForm& form) {
    std::string text =
        form.quant ? describe(QuantForm{*form.quant, form.quant_spec}) : option_text(kQuantNames, form.quant);
    if (form.quantized_in_checkpoint) text += ", already quantized";
    if (form.quant && form.quant_only_adapted) text += ", only linears with an adapter";
    if (form.lift_f32) text += ", norms, embedding and head in f32";
    return text;
}

void write_form(const BaseForm& form, nlohmann::ordered_json& to) {
    to["quant"] = option_text(kQuantNames, form.quant);
    to["quant_block"] = form.quant_spec.block;
    to["double_quant"] = form.quant_spec.double_quant;
    to["quant_only_adapted"] = form.quant_only_adapted;
    to["lift_f32"] = form.lift_f32;
    if (form.quantized_in_checkpoint) to["quantized_in_checkpoint"] = true;
    to["compute_dtype"] = option_text(kComputeDTypes, form.compute_dtype);
}

BaseForm read_form(const JsonFields& fields) {
    BaseForm form;
    form.quant = named(fields, "quant", kQuantNames, form.quant);
    const int64_t block = fields.count_or("quant_block", form.quant_spec.block);
    if (!is_quant_block(block)) fields.refuse("quant_block", "64, 128 or 256");
    form.quant_spec.block = static_cast<int>(block);
    form.quant_spec.double_quant = fields.flag_or("double_quant", form.quant_spec.double_quant);
    form.quant_only_adapted = fields.flag_or("quant_only_adapted", form.quant_only_adapted);
    form.quantized_in_checkpoint = fields.flag_or("quantized_in_checkpoint", false);
    form.lift_f32 = fields.flag_or("lift_f32", form.lift_f32);
    form.compute_dtype = named(fields, "compute_dtype", kComputeDTypes, form.compute_dtype);
    return form;
}

}  // namespace ggq
