// The order in which blocks of Hopper's attention gradient add to dq, and how their work is cut.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/attention_order.h"
#include "kernels/cuda/attention_workspace.h"

using namespace ggq;
using namespace ggq::cuda;

namespace {

constexpr Device kH200{.capability = 90, .n_sms = 132, .shared_bytes = 232448, .hopper = true};

// The tiles of keys that a tile of queries sees; as many of one as of the other.
struct Sight {
    int begin, end;
};

std::vector<Sight> documents(int n, int length) {
    std::vector<Sight> sights;
    for (int i = 0; i < n; ++i) sights.push_back({i / length * length, i + 1});
    return sights;
}

// Lets units start in order, `n_slots` at a time, each adding to one tile of queries a round if it is its turn. Returns
// the rounds, 0 if all wait for each other.
int run(const std::vector<Sight>& sights, int half, int n_slots) {
    const int n = static_cast<int>(sights.size()), n_units = units_of(n, half);
    struct Add {
        int query_tile, before;
    };
    std::vector<std::vector<Add>> work(static_cast<size_t>(n_units));
    for (int u = 0; u < n_units; ++u) {
        const KeyTiles keys = key_tiles_of(u, n, half);
        for (int i = 0; i < keys.n; ++i)
            for (int q = 0; q < n; ++q) {
                const auto [begin, end] = sights[static_cast<size_t>(q)];
                if (begin <= keys.tiles[i] && keys.tiles[i] < end)
                    work[static_cast<size_t>(u)].push_back({q, n_before(keys.tiles[i], begin, end, half)});
            }
    }
    std::vector<int> turns(static_cast<size_t>(n)), resident;
    std::vector<size_t> done(static_cast<size_t>(n_units));
    int started = 0, rounds = 0;
    for (;; ++rounds) {
        std::erase_if(resident,
                      [&](int u) { return done[static_cast<size_t>(u)] == work[static_cast<size_t>(u)].size(); });
        while (started < n_units && static_cast<int>(resident.size()) < n_slots) resident.push_back(started++);
        if (resident.empty()) return rounds;
        std::vector<int> added;
        for (int u : resident) {
            const auto& left = work[static_cast<size_t>(u)];
            size_t& at = done[static_cast<size_t>(u)];
            if (at == left.size()) continue;
            const Add& add = left[at];
            if (turns[static_cast<size_t>(add.query_tile)] == add.before) added.push_back(add.query_tile), ++at;
        }
        for (int q : added) ++turns[static_cast<size_t>(q)];
        if (added.empty() && !work[static_cast<size_t>(resident.front())].empty()) return 0;
    }
}

}  // namespace

TEST_CASE("attention's order: every tile of keys that is seen has a turn of its own") {
    for (int n : {1, 2, 5, 16})
        for (int half : {0, n / 2})
            for (int length : {1, 3, n})
                for (const Sight& sight : documents(n, length)) {
                    std::vector<int> turns;
                    for (int k = sight.begin; k < sight.end; ++k)
                        turns.push_back(n_before(k, sight.begin, sight.end, half));
                    std::sort(turns.begin(), turns.end());
                    for (size_t i = 0; i < turns.size(); ++i) CHECK(turns[i] == static_cast<int>(i));
                }
}

TEST_CASE("attention's order: units never wait for each other, and folded ones have equally much to do") {
    for (int n : {1, 2, 7, 16, 64})
        for (int length : {1, 3, n}) {
            CAPTURE(n);
            CAPTURE(length);
            for (int slots : {1, 2, 132}) CHECK(run(documents(n, length), 0, slots) > 0);
            CHECK(run(documents(n, length), n / 2, units_of(n, n / 2)) > 0);
        }
    CHECK(run(documents(64, 64), 32, 32) <= 65 + 32);  // each has 65 tiles; second ones follow each other
}

TEST_CASE("attention's order: numbers give every unit of every part once") {
    for (int n_parts : {3, 8, 21})
        for (int half : {0, 8}) {
            const int n = units_of(16, half);
            std::vector<int> seen(static_cast<size_t>(n_parts * n)), last(static_cast<size_t>(n_parts), -1);
            for (int number = 0; number < n_parts * 16; ++number) {
                const PartUnit at = unit_of(number, n_parts, 16, half);
                if (at.part >= n_parts) continue;
                ++seen[static_cast<size_t>(at.part * n + at.unit)];
                CHECK(at.unit == ++last[static_cast<size_t>(at.part)]);
            }
            for (int times : seen) CHECK(times == 1);
        }
}

TEST_CASE("attention's order: alike documents are folded, others are not") {
    CHECK(folding_pays({4160, 130}, 64));       // one of 8192 tokens
    CHECK(folding_pays({1088, 34}, 64));        // four of 2048
    CHECK_FALSE(folding_pays({1128, 49}, 64));  // seven of 48 to 3000
    CHECK_FALSE(folding_pays({334, 16}, 64));   // 24 of 200 to 512
}

TEST_CASE("attention's plan for Hopper: splits and passes fill the card") {
    const auto plan = [](int64_t T, int64_t G, int64_t D, const Device& device) {
        return attention_backward_plan(T, 32, D, T, G, DType::bf16, device);
    };
    const AttentionBackwardPlan long_one = plan(8192, 8, 128, kH200), short_one = plan(2048, 8, 128, kH200);
    CHECK(long_one.hopper);
    CHECK(long_one.may_fold);
    CHECK(long_one.n_splits == 1);
    CHECK(long_one.parts_a_pass == 8);
    CHECK(short_one.may_fold);
    CHECK(short_one.n_splits == 2);
    CHECK(short_one.parts_a_pass == 16);
    CHECK_FALSE(plan(512, 8, 128, kH200).may_fold);
    CHECK_FALSE(plan(65536, 8, 128, kH200).may_fold);
    CHECK(plan(262144, 8, 128, kH200).parts_a_pass == 1);
    CHECK_FALSE(plan(2048, 8, 80, kH200).hopper);
    CHECK(plan(2048, 8, 80, kH200).bytes == plan(2048, 8, 80, Device{0, 90, 132, 232448}).bytes);
}
