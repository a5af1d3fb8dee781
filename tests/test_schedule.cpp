// The learning rate of every update, against the goldens and at the corners.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "models/train/schedule.h"
#include "tests/fixtures.h"

using namespace ggq;

namespace {

nlohmann::json read_json(const std::filesystem::path& path) { return parse_json(read_text_file(path), path.string()); }

std::vector<std::filesystem::path> folders_with_curves() {
    std::vector<std::filesystem::path> found;
    const auto root = test::fixtures();
    if (!root || !std::filesystem::is_directory(*root / "golden")) return found;
    for (const auto& entry : std::filesystem::directory_iterator(*root / "golden"))
        if (std::filesystem::exists(entry.path() / "curve.json")) found.push_back(entry.path());
    return found;
}

}  // namespace

TEST_CASE("schedule: the goldens' learning rates") {
    const std::vector<std::filesystem::path> folders = folders_with_curves();
    if (folders.empty()) test::skipped("learning-rate curves: no golden folder has a curve.json");
    for (const std::filesystem::path& folder : folders) {
        CAPTURE(folder.string());
        const nlohmann::json about = read_json(folder / "about.json");
        const std::vector<double> rates = read_json(folder / "curve.json").at("lr");
        LrSchedule schedule{.lr = about.at("lr"), .total_steps = about.at("steps")};
        // The first rate is peak / warm-up.
        schedule.warmup_steps = std::lround(schedule.lr / rates.at(0));
        REQUIRE(std::ssize(rates) == schedule.total_steps);
        for (int64_t step = 0; step < schedule.total_steps; ++step) {
            CAPTURE(step);
            CHECK(std::abs(schedule.at(step) - rates[static_cast<size_t>(step)]) <= 1e-9);
        }
    }
}

TEST_CASE("schedule: warm-up rises from above zero to the peak") {
    const LrSchedule schedule{.lr = 1, .warmup_steps = 4, .total_steps = 10};
    CHECK(schedule.at(0) == 0.25);
    CHECK(schedule.at(3) == 1);
    CHECK(schedule.at(4) == 1);
    CHECK(LrSchedule{.lr = 1, .warmup_steps = 0, .total_steps = 10}.at(0) == 1);
}

TEST_CASE("schedule: each kind from the peak to its end") {
    LrSchedule schedule{.kind = LrScheduler::linear, .lr = 1, .lr_min = 0.2, .warmup_steps = 2, .total_steps = 10};
    CHECK(schedule.at(6) == doctest::Approx(0.6));
    CHECK(schedule.at(10) == doctest::Approx(0.2));
    CHECK(schedule.at(1000) == doctest::Approx(0.2));
    schedule.kind = LrScheduler::cosine;
    CHECK(schedule.at(2) == doctest::Approx(1));
    CHECK(schedule.at(4) == doctest::Approx(0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2));
    CHECK(schedule.at(6) == doctest::Approx(0.6));
    CHECK(schedule.at(10) == doctest::Approx(0.2));
    schedule.kind = LrScheduler::constant;
    CHECK(schedule.at(1) == 1);
    CHECK(schedule.at(9) == 1);
}

TEST_CASE("schedule: warm-up as long as the run or longer") {
    for (const int64_t warmup : {10, 20}) {
        const LrSchedule schedule{.lr = 1, .warmup_steps = warmup, .total_steps = 10};
        for (int64_t step = 0; step < 10; ++step) {
            CHECK(schedule.at(step) > 0);
            CHECK(schedule.at(step) <= 1);
        }
    }
}

TEST_CASE("schedule: warm-up from a ratio rounds up") {
    CHECK(warmup_steps_of(0.03, 100) == 3);
    CHECK(warmup_steps_of(0.03, 10) == 1);
    CHECK(warmup_steps_of(0, 10) == 0);
}
