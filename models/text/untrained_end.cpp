#include "models/text/untrained_end.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "ggq/io/sharded_safetensors.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr size_t kNamed = 3;
constexpr int64_t kPieceBytes = 4 << 20;

std::string named(const Tokenizer& tokenizer, int64_t id) {
    if (id >= tokenizer.vocab_size()) return fmt::format("token {}", id);
    const auto token = static_cast<int32_t>(id);
    return fmt::format("'{}' ({})", shown(tokenizer.token_of(token), 60), id);
}

// The other rows that have the bits of this one.
std::vector<int64_t> equal_rows(const ShardedSafetensors& files, const char* name, int64_t row) {
    const FileTensor& table = files.at(name);
    const int64_t n_rows = table.shape[0], n_bytes = table.n_bytes() / n_rows;
    const int64_t rows_a_piece = std::max<int64_t>(kPieceBytes / n_bytes, 1);
    std::vector<std::byte> wanted(static_cast<size_t>(n_bytes)), piece(static_cast<size_t>(rows_a_piece * n_bytes));
    files.read_part(name, static_cast<uint64_t>(row * n_bytes), wanted);
    std::vector<int64_t> equal;
    for (int64_t first = 0; first < n_rows; first += rows_a_piece) {
        const int64_t n = std::min(rows_a_piece, n_rows - first);
        files.read_part(name, static_cast<uint64_t>(first * n_bytes),
                        std::span(piece).first(static_cast<size_t>(n * n_bytes)));
        for (int64_t i = 0; i < n; ++i)
            if (first + i != row &&
                std::memcmp(&piece[static_cast<size_t>(i * n_bytes)], wanted.data(), wanted.size()) == 0)
                equal.push_back(first + i);
    }
    return equal;
}

bool is_zero(const ShardedSafetensors& files, const char* name, int64_t row) {
    const FileTensor& table = files.at(name);
    std::vector<std::byte> bytes(static_cast<size_t>(table.n_bytes() / table.shape[0]));
    files.read_part(name, static_cast<uint64_t>(row) * bytes.size(), bytes);
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

std::string list_of(const std::vector<int64_t>& ids, const Tokenizer& tokenizer) {
    std::string list;
    for (size_t i = 0; i < std::min(ids.size(), kNamed); ++i) list += (i > 0 ? ", " : "") + named(tokenizer, ids[i]);
    return list + (ids.size() > kNamed ? ", ..." : "");
}

}  // namespace

std::optional<std::string> warn_of_untrained_end(const std::filesystem::path& folder, const Tokenizer& tokenizer) {
    const ShardedSafetensors files(folder);
    const char* name = files.find(kEmbedding) ? kEmbedding : kHead;  // a tied model's file may hold the other one
    const FileTensor* table = files.find(name);
    const auto eos = tokenizer.eos_id();
    if (!table || !eos || table->shape.rank != 2 || *eos >= table->shape[0] || table->n_bytes() == 0)
        return std::nullopt;
    const std::vector<int64_t> equal = equal_rows(files, name, *eos);
    if (equal.empty() && !is_zero(files, name, *eos)) return std::nullopt;
    const std::string why = equal.empty() ? "is zero"
                                          : fmt::format("equals that of {} other token{}, {}", equal.size(),
                                                        equal.size() == 1 ? "" : "s", list_of(equal, tokenizer));
    return fmt::format(
        "the end token {} was never trained in this base: its embedding {}; answers may not end unless every weight is "
        "trained, or eos_token in tokenizer_config.json names a token that the base knows",
        named(tokenizer, *eos), why);
}

}  // namespace ggq
