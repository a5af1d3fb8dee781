#include "ggq/place.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "kernels/rounding.h"

namespace ggq {

int64_t most_alive(const std::vector<Lifetime>& blocks) {
    int32_t end = 0;
    for (const Lifetime& b : blocks) end = std::max(end, b.last);
    std::vector<int64_t> change(static_cast<size_t>(end) + 2, 0);
    for (const Lifetime& b : blocks) {
        change[static_cast<size_t>(b.first)] += place_bytes(b.bytes);
        change[static_cast<size_t>(b.last) + 1] -= place_bytes(b.bytes);
    }
    std::partial_sum(change.begin(), change.end(), change.begin());
    return *std::max_element(change.begin(), change.end());
}

namespace {

// Placed blocks, by offset. Most live for a few steps and meet only what is alive then: these stand in lists by
// stretches of steps, the others in one list.
class PlacedBlocks {
public:
    explicit PlacedBlocks(const std::vector<Lifetime>& blocks) : blocks_(blocks), offsets_(blocks.size(), 0) {
        int32_t end = 0;
        for (const Lifetime& b : blocks) end = std::max(end, b.last);
        stretches_.resize(static_cast<size_t>(end / kSteps) + 1);
    }

    void add(size_t i) {
        const int64_t bytes = place_bytes(blocks_[i].bytes);
        int64_t offset = 0;
        for (size_t j : neighbours(blocks_[i])) {
            if (blocks_[j].first > blocks_[i].last || blocks_[i].first > blocks_[j].last) continue;
            if (offset + bytes <= offsets_[j]) break;
            offset = std::max(offset, offsets_[j] + place_bytes(blocks_[j].bytes));
        }
        offsets_[i] = offset;
        insert(all_, i);
        if (is_long(blocks_[i])) return insert(long_, i);
        for (size_t s = stretch(blocks_[i].first); s <= stretch(blocks_[i].last); ++s) insert(stretches_[s], i);
    }

    const std::vector<int64_t>& offsets() const { return offsets_; }

private:
    static constexpr int32_t kSteps = 32;

    static size_t stretch(int32_t step) { return static_cast<size_t>(step / kSteps); }
    static bool is_long(const Lifetime& b) { return stretch(b.last) - stretch(b.first) > 3; }

    void insert(std::vector<size_t>& list, size_t i) const {
        const auto by_offset = [&](int64_t value, size_t j) { return value < offsets_[j]; };
        list.insert(std::upper_bound(list.begin(), list.end(), offsets_[i], by_offset), i);
    }

    // By offset; a block may stand there twice. Valid until the next call.
    const std::vector<size_t>& neighbours(const Lifetime& b) {
        if (is_long(b)) return all_;
        found_ = long_;
        const auto by_offset = [&](size_t x, size_t y) { return offsets_[x] < offsets_[y]; };
        for (size_t s = stretch(b.first); s <= stretch(b.last); ++s) {
            const auto middle = static_cast<std::ptrdiff_t>(found_.size());
            found_.insert(found_.end(), stretches_[s].begin(), stretches_[s].end());
            std::inplace_merge(found_.begin(), found_.begin() + middle, found_.end(), by_offset);
        }
        return found_;
    }

    const std::vector<Lifetime>& blocks_;
    std::vector<int64_t> offsets_;
    std::vector<size_t> all_, long_;
    std::vector<std::vector<size_t>> stretches_;
    std::vector<size_t> found_;
};

}  // namespace

namespace {

// One after the other in falling order of `weight`, each at the lowest offset where it meets none that is placed and
// alive with it.
template <typename F>
std::vector<int64_t> place_by(const std::vector<Lifetime>& blocks, const F& weight) {
    std::vector<size_t> order(blocks.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, std::greater<>{}, [&](size_t i) { return weight(blocks[i]); });
    PlacedBlocks placed(blocks);
    for (size_t i : order) placed.add(i);
    return placed.offsets();
}

int64_t end_of(const std::vector<Lifetime>& blocks, const std::vector<int64_t>& offsets) {
    int64_t end = 0;
    for (size_t i = 0; i < blocks.size(); ++i) end = std::max(end, offsets[i] + place_bytes(blocks[i].bytes));
    return end;
}

double steps_of(const Lifetime& b) { return b.last - b.first + 1; }

}  // namespace

// Greedy by size (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020); where that
// leaves gaps, by how long blocks live too, and the order that leaves least.
std::vector<int64_t> place(const std::vector<Lifetime>& blocks, int64_t enough) {
    if (blocks.empty()) return {};
    using Weight = double (*)(const Lifetime&);
    constexpr Weight kWeights[] = {
        [](const Lifetime& b) { return static_cast<double>(b.bytes); },
        [](const Lifetime& b) { return static_cast<double>(b.bytes) * std::sqrt(steps_of(b)); },
        [](const Lifetime& b) { return static_cast<double>(b.bytes) * steps_of(b); },
        [](const Lifetime& b) { return steps_of(b); }};
    enough = std::max(enough, most_alive(blocks));
    std::vector<int64_t> best;
    int64_t least = INT64_MAX;
    for (const Weight weight : kWeights) {
        std::vector<int64_t> offsets = place_by(blocks, weight);
        const int64_t end = end_of(blocks, offsets);
        if (end >= least) continue;
        least = end;
        best = std::move(offsets);
        if (least <= enough) break;
    }
    return best;
}

}  // namespace ggq
