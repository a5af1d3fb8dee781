// Counters that steer a run without being seen in it: what the random counter draws, and what a checkpoint brings back.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/file_checks.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

// Gradient norms of a run in which all samples are the same and nothing is learned: only dropout tells its
// micro-batches apart.
std::vector<double> norms(double dropout, int64_t grad_accum) {
    const Workplace place;
    std::string lines;
    for (int i = 0; i < 32; ++i) lines += sample_line(0);
    write_text(place.data, lines);
    TrainOptions options = place.options(4);
    options.packing = false;
    options.lora.dropout = dropout;
    options.grad_accum = grad_accum;
    options.lr = 1e-30;
    return train(options).norms();
}

bool differ(double a, double b) { return std::abs(a - b) > 1e-6 * std::abs(a); }

}  // namespace

TEST_CASE("counters: every micro-batch has a dropout mask of its own") {
    const std::vector<double> without = norms(0, 1), with = norms(0.3, 1);
    REQUIRE(without.size() == 4);
    REQUIRE(with.size() == 4);
    for (size_t i = 0; i < with.size(); ++i)
        for (size_t j = 0; j < i; ++j) {
            CAPTURE(i);
            CAPTURE(j);
            CHECK_FALSE(differ(without[i], without[j]));
            CHECK(differ(with[i], with[j]));
        }
    // The mean over two masks, not one mask twice.
    CHECK_FALSE(differ(norms(0, 2)[0], without[0]));
    CHECK(differ(norms(0.3, 2)[0], with[0]));
}

TEST_CASE("counters: a resumed run has the loss scale and the counts of its checkpoint") {
    const Workplace place;
    TrainOptions options = place.options(4);
    train(options, 2);
    const fs::path path = place.out / "checkpoint-2/trainer_state.json";
    auto saved = nlohmann::ordered_json::parse(content_of(path));
    saved.at("ggq").at("loss_scale") = 1024.0;
    saved.at("ggq").at("updates_at_scale") = 77;
    saved.at("ggq").at("micro_batches") = 5;
    write_text(path, saved.dump());
    options.resume = "";
    train(options, 3);
    const auto again = nlohmann::ordered_json::parse(content_of(place.out / "checkpoint-3/trainer_state.json"));
    CHECK(again.at("ggq").at("loss_scale") == 1024.0);  // on the CPU nothing changes it
    CHECK(again.at("ggq").at("updates_at_scale") == 77);
    CHECK(again.at("ggq").at("micro_batches") == 6);
    CHECK(again.at("global_step") == 3);
}

}  // namespace ggq::test
