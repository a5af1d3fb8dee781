#include "models/bnb_4bit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/text_file.h"
#include "ggq/transfer.h"
#include "kernels/code_maps.h"

namespace ggq {

namespace {

constexpr std::pair<DType, const char*> kStates[] = {{DType::nf4, ".quant_state.bitsandbytes__nf4"},
                                                     {DType::fp4, ".quant_state.bitsandbytes__fp4"}};
constexpr const char* kRowScales = ".SCB";
constexpr const char* kLayout = ".weight_format";
constexpr int64_t kMostStateBytes = 4096;  // there are some 170

// One weight's tensors in the files, each looked at before it is used.
class Parts {
public:
    Parts(const ShardedSafetensors& files, const std::string& weight) : files_(files), weight_(weight) {}

    std::string where(const std::string& name) const { return files_.file_of(name) + ": " + name; }

    const FileTensor& at(const std::string& name) const {
        const FileTensor* t = files_.find(name);
        require(t != nullptr, "{}: expected beside the 4-bit weight, found none; {}", where(name),
                files_.why_missing(name));
        return *t;
    }

    void check(const char* suffix, DType dtype, int64_t n_elems) const {
        const std::string name = weight_ + suffix;
        const FileTensor& t = at(name);
        require(t.dtype == dtype && t.shape.n_elems() == n_elems, "{}: expected {} of {}, got {} of {}", where(name),
                n_elems, ggq::name(dtype), t.shape.n_elems(), ggq::name(t.dtype));
    }

    // In the type of `quant_storage`, which may be any: only the bytes count.
    void check_codes(const Shape& shape, int64_t n_bytes) const {
        require(at(weight_).n_bytes() == n_bytes, "{}: shape {} needs {} bytes of 4-bit codes, the checkpoint has {}",
                where(weight_), to_string(shape), n_bytes, at(weight_).n_bytes());
    }

    // Whether each entry is within an ulp of ours, or equal.
    template <size_t N>
    void check_table(const char* suffix, const std::array<float, N>& ours, bool exactly) const {
        check(suffix, DType::f32, N);
        std::array<float, N> theirs{};
        files_.read_part(weight_ + suffix, 0, std::as_writable_bytes(std::span(theirs)));
        const auto same = [exactly](float a, float b) {
            const float magnitude = std::fabs(b), ulp = std::nextafter(magnitude, INFINITY) - magnitude;
            return std::fabs(a - b) <= (exactly ? 0 : ulp);
        };
        require(std::equal(theirs.begin(), theirs.end(), ours.begin(), same),
                "{}: is not the table of bitsandbytes for this type; weights would be other ones than were stored",
                where(weight_ + suffix));
    }

    void check_scales(const std::string& name, int64_t n_rows) const {
        const FileTensor& t = at(name);
        require(t.dtype == DType::f32 && t.shape.n_elems() == n_rows, "{}: expected {} of f32, got {} of {}",
                where(name), n_rows, t.shape.n_elems(), ggq::name(t.dtype));
    }

    // Others are tiles of the tensor cores of old cards.
    void check_layout(const std::string& name) const {
        uint8_t layout = 1;
        if (at(name).n_bytes() == 1) files_.read_part(name, 0, std::as_writable_bytes(std::span(&layout, 1)));
        require(layout == 0, "{}: expected the layout 0 (row by row); save the model again with a current bitsandbytes",
                where(name));
    }

    Bnb4bitState read_state(const std::string& name, DType type, const Shape& shape) const {
        const FileTensor& t = at(name);
        require(t.dtype == DType::u8 && t.n_bytes() <= kMostStateBytes,
                "{}: expected at most {} bytes of JSON as u8, got {} of {}", where(name), kMostStateBytes,
                t.shape.n_elems(), ggq::name(t.dtype));
        std::vector<std::byte> bytes(static_cast<size_t>(t.n_bytes()));
        files_.read_part(name, 0, bytes);
        return parse_bnb_4bit_state(as_text(bytes), where(name), type, shape);
    }

    // Scales that restore to finite ones, all of which are at most |value| + |offset|.
    ReadPart finite(const std::string& tensor, float offset) const {
        return [this, name = tensor, offset](uint64_t begin, std::span<std::byte> to) {
            files_.read_part(name, begin, to);
            const std::span values(reinterpret_cast<const float*>(to.data()), to.size() / sizeof(float));
            require(
                std::ranges::all_of(values, [=](float v) { return std::isfinite(std::fabs(v) + std::fabs(offset)); }),
                "{}: has NaN, infinite or far too large scales; the file is damaged", where(name));
        };
    }

    ReadPart as_it_is(const char* suffix) const {
        return [this, name = weight_ + suffix](uint64_t begin, std::span<std::byte> to) {
            files_.read_part(name, begin, to);
        };
    }

private:
    const ShardedSafetensors& files_;
    const std::string& weight_;
};

std::vector<const char*> suffixes(bool double_quant) {
    if (!double_quant) return {"", ".absmax", ".quant_map"};
    return {"", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"};
}

void check_parts(const Parts& parts, const Shape& shape, const QuantForm& form) {
    const QuantLayout layout = quant_layout(form.dtype, shape, form.spec);
    parts.check_codes(shape, layout.codes_bytes);
    parts.check_table(".quant_map", *format(form.dtype).levels, true);
    parts.check(".absmax", form.spec.double_quant ? DType::u8 : DType::f32, layout.n_scales);
    if (!form.spec.double_quant) return;
    parts.check(".nested_absmax", DType::f32, layout.n_nested);
    // Its formula gives this one to within an ulp, by the version of torch that evaluated it.
    parts.check_table(".nested_quant_map", kSignedMap, false);
}

// Those that bitsandbytes quantizes and no layer of ours reads in 4 bits.
void check_role(const WeightRow& row, const std::string& where) {
    require(row.role == WeightRole::linear,
            "{}: is quantized, which only linears of layers are; save the model again with {} among its "
            "llm_int8_skip_modules",
            where, row.module());
}

}  // namespace

Bnb4bitWeights::Bnb4bitWeights(const LlamaConfig& config, const ShardedSafetensors& files) : files_(files) {
    for (const WeightRow& row : weight_rows(config)) {
        for (const auto& [type, suffix] : kStates)
            if (files.find(row.name + suffix)) add(row, row.name + suffix, type);
        if (const FileTensor* t = files.find(row.name); t && t->dtype == DType::i8) add_int8(row);
        require(has(row.name) || !files.find(row.name + ".absmax"),
                "{}: {}: has an absmax but no quant_state, so it is not known how it was quantized; save the model "
                "again with transformers",
                files.file_of(row.name), row.name);
    }
    require(states_.empty() || config.quantization,
            "{}: holds linears in {} bits, but config.json has no quantization_config; take it from where the model "
            "came from",
            files.folder().string(), !states_.empty() && form()->dtype == DType::int8 ? 8 : 4);
}

void Bnb4bitWeights::add(const WeightRow& row, const std::string& state_name, DType type) {
    const Parts parts(files_, row.name);
    check_role(row, parts.where(row.name));
    const Bnb4bitState state = parts.read_state(state_name, type, row.shape);
    check_alike(row, state.form);
    check_parts(parts, row.shape, state.form);
    states_.emplace(row.name, state);
    parts_.insert(state_name);
    for (const char* suffix : suffixes(state.form.spec.double_quant)) parts_.insert(row.name + suffix);
}

void Bnb4bitWeights::check_alike(const WeightRow& row, const QuantForm& form) const {
    const QuantForm first = this->form().value_or(form);
    require(first == form, "{}: {}: is quantized as {}, linears before it as {}; one form is held",
            files_.file_of(row.name), row.name, describe(form), describe(first));
}

void Bnb4bitWeights::add_int8(const WeightRow& row) {
    const Parts parts(files_, row.name);
    const std::string layout = row.module() + kLayout;
    check_role(row, parts.where(row.name));
    const Bnb4bitState state{{DType::int8, {}}, 0};
    check_alike(row, state.form);
    require(parts.at(row.name).shape == row.shape, "{}: config.json asks for shape {}, the checkpoint has {}",
            parts.where(row.name), to_string(row.shape), to_string(parts.at(row.name).shape));
    parts.check_scales(row.module() + kRowScales, row.shape[0]);
    parts_.insert(row.module() + kRowScales);
    if (files_.find(layout)) {
        parts.check_layout(layout);
        parts_.insert(layout);
    }
    states_.emplace(row.name, state);
}

std::optional<QuantForm> Bnb4bitWeights::form() const {
    return states_.empty() ? std::nullopt : std::optional(states_.begin()->second.form);
}

void Bnb4bitWeights::load(const WeightRow& row, Store& store, const Buffer& to) const {
    const Bnb4bitState& state = states_.at(row.name);
    const bool is_int8 = state.form.dtype == DType::int8, is_nested = !is_int8 && state.form.spec.double_quant;
    require(to.type == TensorType{state.form.dtype, row.shape, state.form.spec},
            "{}: is already quantized as {} and can be held as nothing else", row.name, describe(state.form));
    const Parts parts(files_, row.name);
    write_parts(store, to,
                {.codes = parts.as_it_is(""),
                 .scales = is_int8     ? parts.finite(row.module() + kRowScales, 0)
                           : is_nested ? parts.as_it_is(".absmax")
                                       : parts.finite(row.name + ".absmax", 0),
                 .nested = parts.finite(row.name + ".nested_absmax", state.offset),
                 .offset = state.offset});
}

}  // namespace ggq
