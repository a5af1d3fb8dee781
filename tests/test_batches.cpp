// Micro-batches: labels, positions and spans never cross a document, every sample comes once an epoch, and the order is
// a function of seed and epoch alone.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "ggq/error.h"
#include "models/text/batches.h"
#include "models/text/shuffle.h"

using ggq::Batches;
using ggq::BatchOptions;
using ggq::kIgnoredLabel;
using ggq::MicroBatch;
using ggq::Sample;
using ggq::Update;

namespace {

// Sample i has 2 + (i * 7) % 12 tokens, ids 1000 * (i + 1) + position, and loss on the second half.
std::vector<Sample> samples(int n) {
    std::vector<Sample> result;
    for (int i = 0; i < n; ++i) {
        Sample sample;
        const int n_tokens = 2 + i * 7 % 12;
        for (int t = 0; t < n_tokens; ++t) {
            sample.ids.push_back(1000 * (i + 1) + t);
            sample.has_loss.push_back(t > 0 && 2 * t >= n_tokens);
        }
        result.push_back(sample);
    }
    return result;
}

BatchOptions options(bool packing) {
    return {.batch_size = 3, .max_length = 16, .grad_accum = 2, .packing = packing, .shuffle = true, .seed = 7};
}

// Checks each token of a micro-batch against the sample it comes from, and gives the samples in it.
std::vector<int> check_micro_batch(const MicroBatch& batch, const std::vector<Sample>& data, int64_t row) {
    std::vector<int> found;
    int64_t n_labels = 0, n_tokens = 0;
    REQUIRE(batch.labels.size() == batch.ids.size());
    REQUIRE(batch.positions.size() == batch.ids.size());
    REQUIRE(batch.spans.size() == 2 * batch.ids.size());
    for (int32_t t = 0; t < batch.length(); ++t) {
        const auto at = static_cast<size_t>(t);
        CAPTURE(t);
        CHECK(batch.spans[2 * at + 1] == t + 1);
        n_labels += batch.labels[at] != kIgnoredLabel;
        if (batch.ids[at] == 0) {
            CHECK(batch.labels[at] == kIgnoredLabel);
            CHECK(batch.positions[at] == 0);
            CHECK(batch.spans[2 * at] == t);
            continue;
        }
        ++n_tokens;
        const int index = batch.ids[at] / 1000 - 1, position = batch.ids[at] % 1000;
        const Sample& sample = data[static_cast<size_t>(index)];
        const auto next = static_cast<size_t>(position) + 1;
        const bool labelled = next < sample.ids.size() && sample.has_loss[next] != 0;
        CHECK(batch.positions[at] == position);
        CHECK(batch.spans[2 * at] == t - position);
        CHECK(batch.labels[at] == (labelled ? sample.ids[next] : kIgnoredLabel));
        if (position == 0) {
            found.push_back(index);
            if (row > 0) CHECK(t / row == (t + sample.n_tokens() - 1) / row);
        }
    }
    CHECK(n_labels == batch.label_tokens);
    CHECK(n_tokens == batch.n_tokens);
    CHECK(std::ssize(found) == batch.n_samples);
    return found;
}

std::vector<int> epoch_samples(const Batches& batches, const std::vector<Sample>& data, int64_t epoch, int64_t row) {
    std::vector<int> found;
    const auto order = batches.order(epoch);
    int64_t n_micro_batches = 0;
    for (int64_t i = 0; i < batches.n_updates(); ++i) {
        const Update update = batches.update(order, i);
        int64_t n_samples = 0, n_tokens = 0, label_tokens = 0;
        for (const MicroBatch& batch : update.micro_batches) {
            CHECK(std::find(batches.lengths().begin(), batches.lengths().end(), batch.length()) !=
                  batches.lengths().end());
            for (const int index : check_micro_batch(batch, data, row)) found.push_back(index);
            n_samples += batch.n_samples;
            n_tokens += batch.n_tokens;
            label_tokens += batch.label_tokens;
        }
        CHECK(update.n_samples == n_samples);
        CHECK(update.n_tokens == n_tokens);
        CHECK(update.label_tokens == label_tokens);
        n_micro_batches += std::ssize(update.micro_batches);
        CHECK((i + 1 == batches.n_updates() || std::ssize(update.micro_batches) == 2));
    }
    CHECK(n_micro_batches == batches.n_micro_batches());
    return found;
}

}  // namespace

TEST_CASE("batches: every token, label, position and span; every sample once an epoch") {
    const auto data = samples(50);
    std::vector<int> all(50);
    for (int i = 0; i < 50; ++i) all[static_cast<size_t>(i)] = i;
    for (const bool packing : {true, false}) {
        CAPTURE(packing);
        const Batches batches(data, options(packing));
        std::set<std::vector<int>> orders;
        for (int64_t epoch = 0; epoch < 3; ++epoch) {
            auto found = epoch_samples(batches, data, epoch, packing ? 16 : 0);
            orders.insert(found);
            std::sort(found.begin(), found.end());
            CHECK(found == all);
        }
        CHECK(orders.size() == 3);
    }
}

TEST_CASE("batches: a small one written out") {
    const std::vector<Sample> data = {{{5, 6, 7}, {0, 0, 1}}, {{8, 9}, {0, 1}}};
    BatchOptions small{.batch_size = 1, .max_length = 6, .grad_accum = 1, .packing = true, .shuffle = false};
    const Batches packed(data, small);
    const MicroBatch batch = packed.micro_batch(packed.order(0), 0);
    CHECK(batch.ids == std::vector<int32_t>{5, 6, 7, 8, 9, 0});
    CHECK(batch.labels == std::vector<int32_t>{-100, 7, -100, 9, -100, -100});
    CHECK(batch.positions == std::vector<int32_t>{0, 1, 2, 0, 1, 0});
    CHECK(batch.spans == std::vector<int32_t>{0, 1, 0, 2, 0, 3, 3, 4, 3, 5, 5, 6});
    CHECK(batch.label_tokens == 2);
    CHECK(batch.n_samples == 2);
    CHECK(packed.n_updates() == 1);
}

TEST_CASE("batches: the order is a function of seed and epoch") {
    const auto data = samples(40);
    for (const bool packing : {true, false}) {
        BatchOptions same = options(packing), other = options(packing);
        other.seed = 8;
        const Batches first(data, same), second(data, same), third(data, other);
        second.order(0);  // what was asked before makes no difference
        CHECK(first.order(5) == second.order(5));
        CHECK(first.order(5) != first.order(6));
        CHECK(first.order(5) != third.order(5));
        CHECK(first.micro_batch(first.order(2), 1).ids == second.micro_batch(second.order(2), 1).ids);
        CHECK(first.micro_batch(first.order(2), 1).ids != third.micro_batch(third.order(2), 1).ids);
    }
}

TEST_CASE("batches: packing fills rows, and validation keeps the order of the data") {
    const auto data = samples(600);
    int64_t n_tokens = 0;
    for (const Sample& sample : data) n_tokens += sample.n_tokens();
    const Batches batches(data, options(true));
    CHECK(batches.lengths() == std::vector<int64_t>{48});
    const int64_t capacity = batches.n_micro_batches() * 48;
    CHECK(static_cast<double>(n_tokens) > 0.9 * static_cast<double>(capacity));

    BatchOptions validation = options(false);
    validation.shuffle = false;
    const Batches ordered(data, validation);
    CHECK(check_micro_batch(ordered.micro_batch(ordered.order(0), 1), data, 0) == std::vector<int>{3, 4, 5});
    CHECK(ordered.order(0) == ordered.order(9));
}

TEST_CASE("batches: without packing at most four lengths, and the longest holds any order") {
    const auto data = samples(100);
    const Batches batches(data, options(false));
    const auto& lengths = batches.lengths();
    CHECK(lengths.size() <= 4);
    CHECK(std::is_sorted(lengths.begin(), lengths.end()));
    CHECK(lengths.back() >= 3 * 13);
    CHECK(lengths.back() <= 3 * 16);
    std::map<int64_t, int> used;
    for (int64_t epoch = 0; epoch < 20; ++epoch) {
        const auto order = batches.order(epoch);
        for (int64_t i = 0; i < batches.n_micro_batches(); ++i) ++used[batches.micro_batch(order, i).length()];
    }
    CHECK(used.size() > 1);

    // Three long samples among many short ones hardly ever meet, but they may.
    std::vector<Sample> rare(200, Sample{{1, 2}, {0, 1}});
    rare.resize(203, Sample{std::vector<int32_t>(16, 1), std::vector<uint8_t>(16, 1)});
    CHECK(Batches(rare, options(false)).lengths().back() == 48);

    const std::vector<Sample> equal(9, Sample{{1, 2, 3, 4}, {0, 1, 1, 1}});
    CHECK(Batches(equal, options(false)).lengths() == std::vector<int64_t>{16});
}

TEST_CASE("batches: the last update of an epoch is a shorter group") {
    const auto data = samples(7);
    BatchOptions few = options(false);
    few.batch_size = 2;
    few.grad_accum = 3;
    const Batches batches(data, few);
    CHECK(batches.n_micro_batches() == 4);
    CHECK(batches.n_updates() == 2);
    const auto order = batches.order(0);
    CHECK(batches.update(order, 0).micro_batches.size() == 3);
    CHECK(batches.update(order, 1).micro_batches.size() == 1);
    CHECK(batches.update(order, 1).n_samples == 1);
}

TEST_CASE("shuffled: a permutation for each purpose, seed and round") {
    const auto order = ggq::shuffled(1000, ggq::ShuffleFor::epoch, 1, 2);
    auto sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < 1000; ++i) CHECK(sorted[static_cast<size_t>(i)] == i);
    CHECK(order != ggq::shuffled(1000, ggq::ShuffleFor::epoch, 1, 3));
    CHECK(order != ggq::shuffled(1000, ggq::ShuffleFor::epoch, 2, 2));
    CHECK(order != ggq::shuffled(1000, ggq::ShuffleFor::packing, 1, 2));
    CHECK(ggq::shuffled(0, ggq::ShuffleFor::epoch, 1).empty());
}

TEST_CASE("batches: options that make no sense are refused") {
    const auto data = samples(5);
    const auto made = [&](auto change) {
        BatchOptions wrong = options(true);
        change(wrong);
        return Batches(data, wrong);
    };
    CHECK_THROWS_AS(made([](BatchOptions& o) { o.batch_size = 0; }), ggq::InternalError);
    CHECK_THROWS_AS(made([](BatchOptions& o) { o.grad_accum = -1; }), ggq::InternalError);
    CHECK_THROWS_AS(made([](BatchOptions& o) { o.batch_size = int64_t{1} << 40; }), ggq::InternalError);
    CHECK_THROWS_WITH_AS(made([](BatchOptions& o) { o.max_length = 8; }),
                         "batches: a sample has 9 tokens, expected at most 8", ggq::Error);
    CHECK_THROWS_WITH_AS(Batches({}, options(true)), "batches: expected samples, got none", ggq::Error);
}
