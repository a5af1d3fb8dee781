// The picture of the losses: ticks, smoothing, and that its parts are drawn where they belong.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "examples/support/chart.h"
#include "examples/support/plot.h"
#include "ggq/error.h"
#include "tests/temp_dir.h"

using namespace ggq;

namespace {

constexpr Color kPaper{255, 255, 255}, kBlack{0, 0, 0};

int64_t count_other(const Canvas& canvas, Color background) {
    int64_t count = 0;
    for (int y = 0; y < canvas.height(); ++y)
        for (int x = 0; x < canvas.width(); ++x) count += canvas.at(x, y) != background;
    return count;
}

int64_t count_same(const Canvas& canvas, Color color) {
    return int64_t{canvas.width()} * canvas.height() - count_other(canvas, color);
}

// The most blank columns side by side in [begin, end); letters leave single ones.
int widest_gap(const Canvas& canvas, int begin, int end) {
    int widest = 0, run = 0;
    for (int x = begin; x < end; ++x) {
        bool blank = true;
        for (int y = 0; y < canvas.height(); ++y) blank = blank && canvas.at(x, y) == kPaper;
        run = blank ? run + 1 : 0;
        widest = std::max(widest, run);
    }
    return widest;
}

}  // namespace

TEST_CASE("plot: ticks are round, inside, and about as many as wanted") {
    CHECK(ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
    CHECK(ticks(0, 100, 10).size() == 11);
    for (const auto& [low, high] : {std::pair{0.93, 5.91}, {-3.0, 7.0}, {2.5119, 2.5125}, {0.0, 1.0}, {1e5, 3e8}}) {
        CAPTURE(low);
        const std::vector<double> values = ticks(low, high, 8);
        CHECK(values.size() >= 4);
        CHECK(values.size() <= 16);
        CHECK(values.front() >= low - 1e-6 * (high - low));
        CHECK(values.back() <= high + 1e-6 * (high - low));
    }
}

TEST_CASE("plot: smoothing keeps a line and halves the noise") {
    std::vector<Point> line, noise;
    for (int i = 0; i < 200; ++i) {
        line.push_back({double(i), 3});
        noise.push_back({double(i), i % 2 == 0 ? 1.0 : -1.0});
    }
    for (const Point& point : smoothed(line)) CHECK(point.y == doctest::Approx(3));
    const std::vector<Point> quiet = smoothed(noise);
    CHECK(quiet.size() == noise.size());
    CHECK(std::abs(quiet[100].y) < 0.1);
    CHECK(quiet[7].x == 7);
    CHECK(smoothed({}).empty());
}

TEST_CASE("plot: curves from a log leave out what is not finite or no loss") {
    const std::vector<nlohmann::ordered_json> history = {
        {{"loss", 2.5}, {"step", 10}},
        {{"loss", nullptr}, {"step", 20}},
        {{"loss", std::numeric_limits<double>::infinity()}, {"step", 25}},
        {{"eval_loss", 2.25}, {"step", 30}},
        {{"train_loss", 1.0}, {"step", 30}},
    };
    const LossCurves curves = curves_of(history, "title");
    CHECK(curves.title == "title");
    REQUIRE(curves.train.size() == 1);
    CHECK(curves.train[0].x == 10);
    CHECK(curves.train[0].y == 2.5);
    REQUIRE(curves.validation.size() == 1);
    CHECK(curves.validation[0].y == 2.25);
}

TEST_CASE("canvas: a line covers its own width, smoothly") {
    Canvas canvas(40, 20, kPaper);
    canvas.polyline({{5, 10}, {35, 10}}, 2, kBlack);
    CHECK(canvas.at(20, 9) == kBlack);
    CHECK(canvas.at(20, 10) == kBlack);
    CHECK(canvas.at(20, 7) == kPaper);
    CHECK(canvas.at(20, 12) == kPaper);
    Canvas slanted(40, 40, kPaper);
    slanted.polyline({{5, 5}, {35, 22}}, 2, kBlack);
    int64_t grey = 0;
    for (int y = 0; y < 40; ++y)
        for (int x = 0; x < 40; ++x) grey += slanted.at(x, y) != kPaper && slanted.at(x, y) != kBlack;
    CHECK(grey > 30);
}

TEST_CASE("canvas: nothing is drawn beyond the picture") {
    Canvas canvas(20, 20, kPaper);
    canvas.polyline({{-100, 5}, {100, 5}, {5, -1000}}, 3, kBlack);
    canvas.disc({19, 19}, 8, kBlack);
    canvas.fill(-5, 15, 100, 100, kBlack);
    canvas.text(15, 15, "beyond", kBlack);
    canvas.text_upwards(-3, 3, "beyond", kBlack);
    CHECK(canvas.at(0, 19) == kBlack);
    CHECK(canvas.at(10, 10) == kPaper);
}

TEST_CASE("canvas: text upright and turned has the same ink and the stated size") {
    const std::string words = "loss (nats per token) 0123456789 gjpqy";
    const int length = text_width(words);
    Canvas across(length, kTextHeight, kPaper), larger(length + 40, kTextHeight + 40, kPaper);
    across.text(0, 0, words, kBlack);
    larger.text(20, 20, words, kBlack);
    CHECK(count_other(across, kPaper) > 500);
    CHECK(count_other(across, kPaper) == count_other(larger, kPaper));
    Canvas turned(kTextHeight, length, kPaper);
    turned.text_upwards(0, length, words, kBlack);
    CHECK(count_other(turned, kPaper) == count_other(across, kPaper));
    CHECK(turned.at(3, length - 1) == across.at(0, 3));
    CHECK(text_width("caf\xc3\xa9\t\x7f") == text_width("caf????"));
}

TEST_CASE("plot: both curves, their legend and the axes are drawn") {
    LossCurves curves{"loss", {}, {{10, 3}, {20, 2.5}}};
    for (int i = 1; i <= 20; ++i) curves.train.push_back({double(i), 4 - 0.1 * i + 0.2 * (i % 2)});
    const Canvas canvas = draw(curves);
    CHECK(count_same(canvas, {31, 99, 180}) > 1000);
    CHECK(count_same(canvas, {217, 95, 14}) > 300);
    curves.validation.clear();
    CHECK(count_same(draw(curves), {217, 95, 14}) == 0);
}

TEST_CASE("plot: few, equal and no points, and very large ones") {
    const std::vector<std::vector<Point>> trains = {{}, {{1, 2.5}}, {{1, 0}, {2, 0}}, {{5, 1e9}, {6, 1e-9}}, {{1, -4}}};
    for (const std::vector<Point>& train : trains) {
        const Canvas canvas = draw({"title", train, {}});
        CHECK(count_other(canvas, kPaper) > 1000);
        CHECK(widest_gap(canvas, 30, 80) >= 8);  // between the title of the axis and its longest number
    }
}

TEST_CASE("plot: the picture is a PNG file, or an error names the path") {
    const test::TempDir folder;
    const std::filesystem::path path = folder / "loss.png";
    draw({"title", {{1, 2}, {2, 1}}, {}}).save_png(path);
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    CHECK(bytes.starts_with("\x89PNG\r\n"));
    CHECK(bytes.size() > 2000);
    CHECK_THROWS_AS(draw({"title", {}, {}}).save_png(folder / "absent" / "loss.png"), Error);
}
