#include "models/merge/merged_source.h"

#include "ggq/transfer.h"

namespace ggq {

namespace {

// Values as this type stores them, and back.
std::vector<float> rounded(Backend& cpu, std::span<const float> values, DType dtype, std::vector<std::byte>& stored) {
    const int64_t n = std::ssize(values);
    stored.resize(static_cast<size_t>(n * info(dtype).bytes));
    convert_floats(cpu, DType::f32, values.data(), dtype, stored.data(), n);
    std::vector<float> back(values.size());
    convert_floats(cpu, dtype, stored.data(), DType::f32, back.data(), n);
    return back;
}

}  // namespace

TensorType MergedSource::type(const WeightRow& row) const {
    if (form_.requantized && info(weights_.held_type(row).dtype).quantized)
        return {form_.requantized->dtype, row.shape, form_.requantized->spec};
    const DType stored = weights_.stored_type(row).dtype;
    if (form_.gguf) return {DType::f32, row.shape, {}};
    return {form_.dtype.value_or(info(stored).quantized ? form_.of_quantized : stored), row.shape, {}};
}

void MergedSource::load(const WeightRow& row, Store& store, const Buffer& to) const {
    if (form_.gguf) load_rounded(row, store, to);
    else if (info(to.type.dtype).quantized) load_quantized(row, store, to);
    else load_plain(row, store, to);
}

void MergedSource::load_plain(const WeightRow& row, Store& store, const Buffer& to) const {
    const DType dtype = to.type.dtype;
    const int64_t row_bytes = row.shape[row.shape.rank - 1] * info(dtype).bytes;
    const bool measures = rounding_ && weights_.changes(row);
    RoundingLoss loss;
    std::vector<std::byte> piece, piece_of_base;
    weights_.each(row, [&](const MergedRows& rows) {
        const std::vector<float> back = rounded(cpu_, rows.merged, dtype, piece);
        store.write_part(to, rows.first * row_bytes, piece.data(), std::ssize(piece));
        if (measures) loss.add(rows.base, rows.merged, rounded(cpu_, rows.base, dtype, piece_of_base), back);
    });
    if (measures) rounding_->add(row.name, loss);
}

void MergedSource::load_rounded(const WeightRow& row, Store& store, const Buffer& to) const {
    const int64_t n_columns = row.shape[row.shape.rank - 1];
    const GgufType type =
        row.shape.rank == 1 ? GgufType::f32 : type_of_rows(form_.gguf.value_or(GgufType::f32), n_columns);
    weights_.each(row, [&](const MergedRows& rows) {
        const std::vector<float> back = gguf_decoded(cpu_, type, gguf_encoded(cpu_, type, rows.merged));
        const auto bytes = std::as_bytes(std::span(back));
        store.write_part(to, rows.first * n_columns * 4, bytes.data(), std::ssize(bytes));
    });
}

void MergedSource::load_quantized(const WeightRow& row, Store& store, const Buffer& to) const {
    std::vector<float> base, merged;
    weights_.each(row, [&](const MergedRows& rows) {
        merged.insert(merged.end(), rows.merged.begin(), rows.merged.end());
        if (rounding_) base.insert(base.end(), rows.base.begin(), rows.base.end());
    });
    write_converted(store, to, DType::f32, merged.data());
    if (!rounding_ || !weights_.changes(row)) return;
    RoundingLoss loss;
    loss.add(base, merged, base, read_f32(store, to));
    rounding_->add(row.name, loss);
}

}  // namespace ggq
