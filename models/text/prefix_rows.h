// Rows sorted by a text that each has: which of these texts stand at a place of another text, found byte by byte.
//
// A text is compared only with the rows that still match, so there may be as many of them as a model brings.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ggq {

template <typename Row, std::string Row::*kText>
class PrefixRows {
public:
    PrefixRows() = default;
    // Of two with one text the first counts; one without text is never found.
    explicit PrefixRows(std::vector<Row> rows) : rows_(std::move(rows)) {
        std::erase_if(rows_, [](const Row& row) { return (row.*kText).empty(); });
        std::ranges::stable_sort(rows_, {}, kText);
        const auto same = [](const Row& a, const Row& b) { return a.*kText == b.*kText; };
        rows_.erase(std::unique(rows_.begin(), rows_.end(), same), rows_.end());
        for (const Row& row : rows_) ++first_of_[static_cast<unsigned char>((row.*kText)[0]) + 1U];
        std::partial_sum(first_of_.begin(), first_of_.end(), first_of_.begin());
    }

    // Calls found(row) for each row whose text stands at `at`, the shortest first.
    template <typename Found>
    void each_at(std::string_view text, size_t at, const Found& found) const {
        const auto byte = static_cast<unsigned char>(text[at]);
        auto first = rows_.begin() + first_of_[byte], last = rows_.begin() + first_of_[byte + 1U];
        for (size_t n = 1; first != last; ++n) {  // all from first to last begin with n bytes of the text
            if (((*first).*kText).size() == n) found(*first++);
            if (at + n == text.size()) break;
            const auto next = [n](const Row& row) { return static_cast<unsigned char>((row.*kText)[n]); };
            const auto wanted = static_cast<unsigned char>(text[at + n]);
            first = std::ranges::lower_bound(first, last, wanted, {}, next);
            last = std::ranges::upper_bound(first, last, wanted, {}, next);
        }
    }

private:
    std::vector<Row> rows_;
    std::array<uint32_t, 257> first_of_{};  // of the rows that begin with a byte, the first; then that of the next byte
};

}  // namespace ggq
