#include "models/bnb_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "kernels/code_maps.h"

namespace ggq {

namespace {

constexpr int64_t kMostStateBytes = 512;  // there are some 170

const char* torch_type(DType dtype) {
    if (dtype == DType::f16) return "float16";
    return dtype == DType::bf16 ? "bfloat16" : "float32";
}

std::string state_name(const WeightRow& row, DType type) {
    return row.name + ".quant_state.bitsandbytes__" + name(type);
}

// As Python's json.dumps spells it.
std::string state_text(const WeightRow& row, const QuantForm& form, DType original, float offset) {
    std::string text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}, {}])",
                                   name(form.dtype), form.spec.block, torch_type(original), row.shape[0], row.shape[1]);
    if (form.spec.double_quant)
        text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})", kNestedBlock,
                            static_cast<double>(offset));
    return text + "}";
}

template <size_t N>
void write_table(ShardedWriter& to, const std::string& name, const std::array<float, N>& table) {
    to.write(name, 0, std::as_bytes(std::span(table)));
}

// Of a buffer, piece by piece.
void copy_part(ShardedWriter& to, const std::string& name, const Store& store, const Buffer& from, int64_t begin,
               int64_t n_bytes) {
    constexpr int64_t kPiece = 4 << 20;
    std::vector<std::byte> piece;
    for (int64_t at = 0; at < n_bytes; at += kPiece) {
        piece.resize(static_cast<size_t>(std::min(kPiece, n_bytes - at)));
        store.read_part(from, begin + at, piece.data(), std::ssize(piece));
        to.write(name, at, piece);
    }
}

TensorGroup int8_group(const WeightRow& row) {
    return {{{row.name, {nullptr, DType::i8, row.shape}},
             {row.module() + ".SCB", {nullptr, DType::f32, {row.shape[0]}}},
             {row.module() + ".weight_format", {nullptr, DType::u8, {}}}},
            {}};
}

void write_int8(ShardedWriter& to, const WeightRow& row, const Store& store, const Buffer& weight) {
    const QuantLayout at = quant_layout(weight.type.dtype, row.shape, weight.type.quant);
    copy_part(to, row.name, store, weight, 0, at.codes_bytes);
    copy_part(to, row.module() + ".SCB", store, weight, at.scales_at, 4 * at.n_scales);
    const std::byte by_row{0};
    to.write(row.module() + ".weight_format", 0, {&by_row, 1});
}

}  // namespace

TensorGroup bnb_group(const WeightRow& row, const QuantForm& form) {
    if (form.dtype == DType::int8) return int8_group(row);
    const QuantLayout at = quant_layout(form.dtype, row.shape, form.spec);
    const bool nested = form.spec.double_quant;
    TensorGroup group;
    group.tensors[row.name] = {nullptr, DType::u8, {at.codes_bytes, 1}};
    group.tensors[row.name + ".absmax"] = {nullptr, nested ? DType::u8 : DType::f32, {at.n_scales}};
    group.tensors[row.name + ".quant_map"] = {nullptr, DType::f32, {16}};
    if (nested) {
        group.tensors[row.name + ".nested_absmax"] = {nullptr, DType::f32, {at.n_nested}};
        group.tensors[row.name + ".nested_quant_map"] = {nullptr, DType::f32, {256}};
    }
    group.texts[state_name(row, form.dtype)] = kMostStateBytes;
    return group;
}

void write_bnb_weight(ShardedWriter& to, const WeightRow& row, const Store& store, const Buffer& weight,
                      DType original) {
    if (weight.type.dtype == DType::int8) return write_int8(to, row, store, weight);
    const QuantForm form{weight.type.dtype, weight.type.quant};
    const QuantLayout at = quant_layout(form.dtype, row.shape, form.spec);
    float offset = 0;
    copy_part(to, row.name, store, weight, 0, at.codes_bytes);
    copy_part(to, row.name + ".absmax", store, weight, at.scales_at, at.n_scales * (at.n_nested > 0 ? 1 : 4));
    write_table(to, row.name + ".quant_map", *format(form.dtype).levels);
    if (form.spec.double_quant) {
        copy_part(to, row.name + ".nested_absmax", store, weight, at.nested_at, 4 * at.n_nested);
        write_table(to, row.name + ".nested_quant_map", kSignedMap);
        store.read_part(weight, at.offset_at, &offset, sizeof offset);
    }
    to.write_text(state_name(row, form.dtype), state_text(row, form, original, offset));
}

nlohmann::json bnb_config_json(const QuantForm& form, DType compute, const std::vector<std::string>& plain) {
    const bool in_4bit = form.dtype != DType::int8;
    std::vector<std::string> skipped = plain;
    if (!skipped.empty()) skipped.insert(skipped.begin(), "lm_head");  // which a list would else not leave out
    return {{"quant_method", "bitsandbytes"},
            {"_load_in_4bit", in_4bit},
            {"_load_in_8bit", !in_4bit},
            {"load_in_4bit", in_4bit},
            {"load_in_8bit", !in_4bit},
            {"bnb_4bit_compute_dtype", torch_type(compute)},
            {"bnb_4bit_quant_storage", "uint8"},
            {"bnb_4bit_quant_type", in_4bit ? name(form.dtype) : "fp4"},
            {"bnb_4bit_use_double_quant", in_4bit && form.spec.double_quant},
            {"llm_int8_enable_fp32_cpu_offload", false},
            {"llm_int8_has_fp16_weight", false},
            {"llm_int8_skip_modules", skipped.empty() ? nlohmann::json() : nlohmann::json(skipped)},
            {"llm_int8_threshold", 6.0}};
}

}  // namespace ggq
