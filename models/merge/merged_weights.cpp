#include "models/merge/merged_weights.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "ggq/error.h"
#include "ggq/transfer.h"

namespace ggq {

namespace {

constexpr int64_t kPieceElems = int64_t{4} << 20;
constexpr const char* kTableModule = "model.embed_tokens";
constexpr const char* kHeadModule = "lm_head";

bool any_touches(const std::vector<ScaledAdapter>& adapters, const std::string& module) {
    return std::ranges::any_of(adapters, [&](const ScaledAdapter& of) { return touches(*of.adapter, module); });
}

bool same_bytes(const FileTensor& a, const FileTensor& b) {
    return a.dtype == b.dtype && a.shape == b.shape &&
           std::memcmp(a.data, b.data, static_cast<size_t>(a.n_bytes())) == 0;
}

// The last embedding and head that adapters hold as a whole are one tensor, and nothing else changes them.
bool replaced_alike(const std::vector<ScaledAdapter>& adapters) {
    const Adapter& last = *adapters.back().adapter;
    const auto table = last.whole.find(kTableModule), head = last.whole.find(kHeadModule);
    return table != last.whole.end() && head != last.whole.end() && same_bytes(table->second, head->second) &&
           !last.modules.contains(kTableModule) && !last.modules.contains(kHeadModule);
}

// A weight as the base holds it: floats of any rows.
class HeldWeight {
public:
    HeldWeight(Backend& cpu, const TensorSource& source, const WeightRow& row, const TensorType& held)
        : cpu_(cpu), store_(cpu), buffer_(store_.declare(row.name, Kind::constant, held)) {
        store_.allocate();
        source.load(row, store_, buffer_);
        if (info(held.dtype).quantized) values_ = read_f32(store_, buffer_);
    }

    void read(int64_t first_elem, std::span<float> to) const {
        if (!values_.empty()) {
            std::copy_n(values_.begin() + first_elem, to.size(), to.begin());
            return;
        }
        const int64_t bytes = info(buffer_.type.dtype).bytes;
        std::vector<std::byte> piece(to.size() * static_cast<size_t>(bytes));
        store_.read_part(buffer_, first_elem * bytes, piece.data(), std::ssize(piece));
        convert_floats(cpu_, buffer_.type.dtype, piece.data(), DType::f32, to.data(), std::ssize(to));
    }

private:
    Backend& cpu_;
    Store store_;
    Buffer& buffer_;
    std::vector<float> values_;
};

}  // namespace

MergedWeights::MergedWeights(Backend& cpu, const LlamaConfig& config, const TensorSource& source, const BaseForm& form,
                             std::vector<ScaledAdapter> adapters)
    : cpu_(cpu),
      config_(config),
      base_tied_(config.tie_word_embeddings),
      source_(source),
      choice_(form),
      adapters_(std::move(adapters)),
      sums_(cpu) {
    if (!adapters_.empty()) choice_.lora = adapters_[0].adapter->config;
    else choice_.quant_only_adapted = false;
    if (base_tied_ && !keeps_tie()) config_.tie_word_embeddings = false;
    check_modules();
}

bool MergedWeights::keeps_tie() const {
    const bool table = any_touches(adapters_, kTableModule), head = any_touches(adapters_, kHeadModule);
    if (!table && !head) return true;
    if (replaced_alike(adapters_)) return true;
    return !head && std::ranges::all_of(adapters_, [](const ScaledAdapter& of) {
        return !touches(*of.adapter, kTableModule) || of.adapter->config.ensure_weight_tying;
    });
}

void MergedWeights::check_modules() const {
    std::set<std::string> known;
    for (const WeightRow& row : weight_rows(config_)) known.insert(row.module());
    if (base_tied_) known.insert(kHeadModule);
    for (const ScaledAdapter& of : adapters_) {
        const auto check = [&](const auto& tensors) {
            for (const auto& [module, t] : tensors)
                require(known.contains(module),
                        "{}: the adapter has tensors for {}, which this model lacks; they would have no effect",
                        of.adapter->file.string(), module);
        };
        check(of.adapter->modules);
        check(of.adapter->whole);
    }
}

WeightRow MergedWeights::base_row(const WeightRow& row) const {
    WeightRow base = row;
    if (row.role != WeightRole::head || !base_tied_) return base;
    base.name = std::string(kTableModule) + ".weight";
    base.role = WeightRole::embedding;
    return base;
}

bool MergedWeights::changes(const WeightRow& row) const {
    return row.role != WeightRole::bias && any_touches(adapters_, row.module());
}

TensorType MergedWeights::stored_type(const WeightRow& row) const { return source_.type(base_row(row)); }

TensorType MergedWeights::held_type(const WeightRow& row) const {
    return weight_type(base_row(row), stored_type(row), choice_);
}

void MergedWeights::each(const WeightRow& row, const std::function<void(const MergedRows&)>& take) const {
    const HeldWeight held(cpu_, source_, base_row(row), held_type(row));
    const WeightUpdate update(sums_, cpu_, row, adapters_);
    const int64_t n_columns = row.shape[row.shape.rank - 1], n_rows = row.shape.n_elems() / n_columns;
    const int64_t rows_a_piece = std::clamp<int64_t>(kPieceElems / n_columns, 1, n_rows);
    std::vector<float> base(static_cast<size_t>(rows_a_piece * n_columns)), merged;
    for (int64_t first = 0; first < n_rows; first += rows_a_piece) {
        const int64_t n = std::min(rows_a_piece, n_rows - first);
        const std::span values(base.data(), static_cast<size_t>(n * n_columns));
        held.read(first * n_columns, values);
        if (!update.changes()) {
            take({first, n, values, values});
            continue;
        }
        merged.assign(values.begin(), values.end());
        update.apply(first, n, merged.data());
        take({first, n, values, merged});
    }
}

}  // namespace ggq
