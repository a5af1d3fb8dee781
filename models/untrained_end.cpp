#include "models/untrained_end.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "ggq/io/utf8.h"
#include "kernels/packed_blocks.h"

namespace ggq {

namespace {

constexpr size_t kNamed = 3;
constexpr int64_t kPieceBytes = 4 << 20;

std::string named(const Tokenizer& tokenizer, int64_t id) {
    if (id >= tokenizer.vocab_size()) return fmt::format("token {}", id);
    const auto token = static_cast<int32_t>(id);
    return fmt::format("'{}' ({})", shown(tokenizer.token_of(token), 60), id);
}

// The embedding's rows of bytes, one a token.
struct Rows {
    const TensorSource& source;
    WeightRow weight;
    int64_t n_rows, n_bytes;  // of a row

    bool read(int64_t first, std::span<std::byte> to) const {
        return source.read_part(weight, static_cast<uint64_t>(first * n_bytes), to);
    }
};

Rows embedding_of(const Model& model) {
    const std::vector<WeightRow> weights = weight_rows(model.config);
    const WeightRow& table = *std::ranges::find(weights, WeightRole::embedding, &WeightRow::role);
    const DType dtype = model.weights->type(table).dtype;
    return {*model.weights, table, table.shape[0], row_bytes(dtype, table.shape[1])};
}

// The other rows that have the bits of this one.
std::vector<int64_t> equal_rows(const Rows& table, int64_t row, const std::vector<std::byte>& wanted) {
    const int64_t rows_a_piece = std::max<int64_t>(kPieceBytes / table.n_bytes, 1);
    std::vector<std::byte> piece(static_cast<size_t>(rows_a_piece * table.n_bytes));
    std::vector<int64_t> equal;
    for (int64_t first = 0; first < table.n_rows; first += rows_a_piece) {
        const int64_t n = std::min(rows_a_piece, table.n_rows - first);
        table.read(first, std::span(piece).first(static_cast<size_t>(n * table.n_bytes)));
        for (int64_t i = 0; i < n; ++i)
            if (first + i != row &&
                std::memcmp(&piece[static_cast<size_t>(i * table.n_bytes)], wanted.data(), wanted.size()) == 0)
                equal.push_back(first + i);
    }
    return equal;
}

bool is_zero(const std::vector<std::byte>& row) {
    return std::ranges::all_of(row, [](std::byte b) { return b == std::byte{0}; });
}

std::string list_of(const std::vector<int64_t>& ids, const Tokenizer& tokenizer) {
    std::string list;
    for (size_t i = 0; i < std::min(ids.size(), kNamed); ++i) list += (i > 0 ? ", " : "") + named(tokenizer, ids[i]);
    return list + (ids.size() > kNamed ? ", ..." : "");
}

}  // namespace

std::optional<std::string> warn_of_untrained_end(const Model& model) {
    const auto eos = model.tokenizer.eos_id();
    if (!eos) return std::nullopt;
    const std::vector<UntrainedToken> untrained = untrained_tokens(model, {*eos});
    if (untrained.empty()) return std::nullopt;
    return fmt::format(
        "the end token {} was never trained in this base: its embedding {}; answers may not end unless every weight is "
        "trained, or eos_token in tokenizer_config.json names a token that the base knows",
        named(model.tokenizer, *eos), untrained[0].why);
}

std::vector<UntrainedToken> untrained_tokens(const Model& model, const std::vector<int32_t>& ids) {
    const Rows table = embedding_of(model);
    std::vector<UntrainedToken> untrained;
    std::vector<std::byte> row(static_cast<size_t>(table.n_bytes));
    for (const int32_t id : ids) {
        if (id >= table.n_rows || !table.read(id, row)) continue;
        const std::vector<int64_t> equal = equal_rows(table, id, row);
        if (equal.empty() && !is_zero(row)) continue;
        untrained.push_back({id, equal.empty()
                                     ? "is zero"
                                     : fmt::format("equals that of {} other token{}, {}", equal.size(),
                                                   equal.size() == 1 ? "" : "s", list_of(equal, model.tokenizer))});
    }
    return untrained;
}

}  // namespace ggq
