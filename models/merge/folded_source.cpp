#include "models/merge/folded_source.h"

#include <utility>

#include "ggq/transfer.h"

namespace ggq {

namespace {

std::vector<ScaledAdapter> scaled(const std::vector<FoldedAdapter>& adapters) {
    std::vector<ScaledAdapter> list;
    for (const FoldedAdapter& a : adapters) list.push_back({&a.adapter, a.scale});
    return list;
}

}  // namespace

Adapter take_unplain_part(Adapter& adapter) {
    Adapter part = adapter;
    adapter.whole.clear();
    if (adapter.config.use_dora) {
        adapter.modules.clear();
        return part;
    }
    const auto within_layer = [](const auto& m) { return m.first.find(".layers.") != std::string::npos; };
    std::erase_if(part.modules, within_layer);
    std::erase_if(adapter.modules, [&](const auto& m) { return !within_layer(m); });
    return part;
}

FoldedSource::FoldedSource(std::unique_ptr<TensorSource> base, const LlamaConfig& config, const BaseForm& form,
                           DType held, std::vector<FoldedAdapter> adapters, int threads)
    : base_(std::move(base)),
      cpu_(make_cpu_backend(threads)),
      adapters_(std::move(adapters)),
      held_(held),
      weights_(std::make_unique<MergedWeights>(*cpu_, config, *base_, form, scaled(adapters_))) {}

TensorType FoldedSource::type(const WeightRow& row) const {
    if (weights_->changes(row)) return {held_, row.shape, {}};
    return weights_->stored_type(row);
}

void FoldedSource::load(const WeightRow& row, Store& store, const Buffer& to) const {
    if (!weights_->changes(row)) return base_->load(weights_->base_row(row), store, to);
    const DType dtype = to.type.dtype;
    const int64_t n_columns = row.shape[row.shape.rank - 1];
    std::vector<std::byte> piece;
    weights_->each(row, [&](const MergedRows& rows) {
        const int64_t n = std::ssize(rows.merged), bytes = info(dtype).bytes;
        piece.resize(static_cast<size_t>(n * bytes));
        convert_floats(*cpu_, DType::f32, rows.merged.data(), dtype, piece.data(), n);
        store.write_part(to, rows.first * n_columns * bytes, piece.data(), std::ssize(piece));
    });
}

bool FoldedSource::read_part(const WeightRow& row, uint64_t at, std::span<std::byte> to) const {
    return !weights_->changes(row) && base_->read_part(weights_->base_row(row), at, to);
}

}  // namespace ggq
