#include "examples/support/plot.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "examples/support/chart.h"

namespace ggq {

namespace {

constexpr int kWidth = 1280, kHeight = 800;
constexpr int kLeft = 140, kRight = 40, kTop = 100, kBottom = 90;
constexpr int kPlotWidth = kWidth - kLeft - kRight, kPlotHeight = kHeight - kTop - kBottom;
constexpr size_t kFewestSmoothed = 10;  // points; a shorter curve is its own mean

constexpr Color kTrain{31, 99, 180}, kTrainPale{168, 200, 235}, kValidation{217, 95, 14};

std::vector<Point> all_points(const LossCurves& curves) {
    std::vector<Point> points = curves.train;
    points.insert(points.end(), curves.validation.begin(), curves.validation.end());
    return points;
}

Axes axes_of(const std::vector<Point>& points) {
    Axes axes{kLeft, kTop, kPlotWidth, kPlotHeight, {}, {}};
    if (points.empty()) return axes;
    const auto [left, right] =
        std::minmax_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.x < b.x; });
    const auto [lowest, highest] =
        std::minmax_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.y < b.y; });
    // Not so narrow that the ticks need more than three decimals.
    const double margin = std::max({0.06 * (highest->y - lowest->y), 0.02 * std::abs(highest->y), 0.005});
    const double x_high = std::max(right->x, left->x + 1);
    axes.x = {std::min(left->x, 0.0), x_high};
    axes.y = {lowest->y - margin, highest->y + margin};
    return axes;
}

void draw_markers(Canvas& canvas, const std::vector<Point>& points, Color color) {
    for (const Point& point : points) {
        canvas.disc(point, 6.5, kWhite);
        canvas.disc(point, 5, color);
    }
}

// A sample of each curve with its name, in a row above the plot, where no curve can run into it.
class Legend {
public:
    explicit Legend(Canvas& canvas) : canvas_(canvas) {}

    void add(const std::string& name, Color color, double thickness, bool marker) {
        const std::vector<Point> line = {{x_ + 0.5, kMiddle}, {x_ + 36.5, kMiddle}};
        canvas_.polyline(line, thickness, color);
        if (marker) draw_markers(canvas_, {{x_ + 18.5, kMiddle}}, color);
        canvas_.text(x_ + 48, static_cast<int>(kMiddle) - 7, name, kFaintInk);
        x_ += 48 + text_width(name) + 36;
    }

private:
    static constexpr double kMiddle = 68.5;
    Canvas& canvas_;
    int x_ = kLeft;
};

void draw_train(Canvas& canvas, Legend& legend, const Axes& axes, const std::vector<Point>& train) {
    const bool smooth = train.size() >= kFewestSmoothed;
    canvas.polyline(axes.place(train), smooth ? 1.5 : 2.5, smooth ? kTrainPale : kTrain);
    if (train.size() == 1) draw_markers(canvas, axes.place(train), kTrain);
    legend.add("training", smooth ? kTrainPale : kTrain, smooth ? 1.5 : 2.5, train.size() == 1);
    if (!smooth) return;
    canvas.polyline(axes.place(smoothed(train)), 3, kTrain);
    legend.add("training, smoothed", kTrain, 3, false);
}

void draw_validation(Canvas& canvas, Legend& legend, const Axes& axes, const std::vector<Point>& validation) {
    const std::vector<Point> points = axes.place(validation);
    canvas.polyline(points, 2, kValidation);
    draw_markers(canvas, points, kValidation);
    legend.add("validation", kValidation, 2, true);
}

void append_if_finite(const nlohmann::ordered_json& entry, const char* key, std::vector<Point>& points) {
    const auto value = entry.find(key);
    const auto step = entry.find("step");
    if (value == entry.end() || !value->is_number() || step == entry.end() || !step->is_number()) return;
    if (std::isfinite(value->get<double>())) points.push_back({step->get<double>(), value->get<double>()});
}

}  // namespace

LossCurves curves_of(const std::vector<nlohmann::ordered_json>& history, std::string title) {
    LossCurves curves{std::move(title), {}, {}};
    for (const nlohmann::ordered_json& entry : history) {
        append_if_finite(entry, "loss", curves.train);
        append_if_finite(entry, "eval_loss", curves.validation);
    }
    return curves;
}

std::vector<Point> smoothed(const std::vector<Point>& points) {
    const double width = std::max(1.0, static_cast<double>(points.size()) / 60);
    const auto reach = static_cast<int64_t>(3 * width);
    std::vector<Point> means;
    for (int64_t i = 0; i < std::ssize(points); ++i) {
        double sum = 0, weights = 0;
        for (int64_t j = std::max<int64_t>(i - reach, 0); j <= std::min(i + reach, std::ssize(points) - 1); ++j) {
            const double away = static_cast<double>(j - i) / width;
            const double weight = std::exp(-away * away / 2);
            sum += weight * points[static_cast<size_t>(j)].y;
            weights += weight;
        }
        means.push_back({points[static_cast<size_t>(i)].x, sum / weights});
    }
    return means;
}

Canvas draw(const LossCurves& curves) {
    Canvas canvas(kWidth, kHeight, kWhite);
    const Axes axes = axes_of(all_points(curves));
    draw_y_ticks(canvas, axes);
    draw_x_ticks(canvas, axes);
    draw_frame(canvas, axes, "update", "loss (nats per token)");
    draw_title(canvas, axes, curves.title);
    Legend legend(canvas);
    if (!curves.train.empty()) draw_train(canvas, legend, axes, curves.train);
    if (!curves.validation.empty()) draw_validation(canvas, legend, axes, curves.validation);
    return canvas;
}

}  // namespace ggq
