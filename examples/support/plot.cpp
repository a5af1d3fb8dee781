#include "examples/support/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace ggq {

namespace {

constexpr int kWidth = 1280, kHeight = 800;
constexpr int kLeft = 140, kRight = 40, kTop = 100, kBottom = 90;
constexpr int kPlotWidth = kWidth - kLeft - kRight, kPlotHeight = kHeight - kTop - kBottom;
constexpr size_t kFewestSmoothed = 10;  // points; a shorter curve is its own mean

constexpr Color kWhite{255, 255, 255}, kInk{40, 44, 52}, kFaintInk{110, 116, 126}, kGrid{228, 231, 236};
constexpr Color kTrain{31, 99, 180}, kTrainPale{168, 200, 235}, kValidation{217, 95, 14};

struct Range {
    double low = 0, high = 1;
};

// From values to pixels.
struct Axes {
    Range x, y;
    Point place(Point value) const {
        return {kLeft + (value.x - x.low) / (x.high - x.low) * kPlotWidth,
                kTop + (y.high - value.y) / (y.high - y.low) * kPlotHeight};
    }
    std::vector<Point> place(const std::vector<Point>& values) const {
        std::vector<Point> points;
        for (const Point& value : values) points.push_back(place(value));
        return points;
    }
};

std::vector<Point> all_points(const LossCurves& curves) {
    std::vector<Point> points = curves.train;
    points.insert(points.end(), curves.validation.begin(), curves.validation.end());
    return points;
}

Axes axes_of(const std::vector<Point>& points) {
    if (points.empty()) return {};
    const auto [left, right] =
        std::minmax_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.x < b.x; });
    const auto [lowest, highest] =
        std::minmax_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.y < b.y; });
    // Not so narrow that the ticks need more than three decimals.
    const double margin = std::max({0.06 * (highest->y - lowest->y), 0.02 * std::abs(highest->y), 0.005});
    const double x_high = std::max(right->x, left->x + 1);
    return {{std::min(left->x, 0.0), x_high}, {lowest->y - margin, highest->y + margin}};
}

// As many decimals as the distance of the ticks needs.
std::string tick_text(double value, double distance) {
    if (std::abs(value) < distance * 1e-6) value = 0;
    if (std::abs(value) >= 1e5) return fmt::format("{:.2g}", value);
    return fmt::format("{:.{}f}", value, std::max(0, static_cast<int>(std::ceil(-std::log10(distance) - 1e-9))));
}

void draw_y_ticks(Canvas& canvas, const Axes& axes) {
    const std::vector<double> values = ticks(axes.y.low, axes.y.high, 8);
    for (const double value : values) {
        const int y = static_cast<int>(axes.place({axes.x.low, value}).y);
        canvas.fill(kLeft, y, kPlotWidth, 1, kGrid);
        canvas.fill(kLeft - 6, y, 6, 1, kInk);
        const std::string text = tick_text(value, values.size() > 1 ? values[1] - values[0] : 1);
        canvas.text(kLeft - 12 - text_width(text), y - 7, text, kInk);
    }
}

void draw_x_ticks(Canvas& canvas, const Axes& axes) {
    for (const double value : ticks(axes.x.low, axes.x.high, 10)) {
        if (value != std::floor(value)) continue;  // there is no half update
        const int x = static_cast<int>(axes.place({value, axes.y.low}).x);
        canvas.fill(x, kTop, 1, kPlotHeight, kGrid);
        canvas.fill(x, kTop + kPlotHeight, 1, 6, kInk);
        const std::string text = tick_text(value, 1);
        canvas.text(x - text_width(text) / 2, kTop + kPlotHeight + 12, text, kInk);
    }
}

void draw_frame(Canvas& canvas, const std::string& title) {
    canvas.fill(kLeft, kTop, 1, kPlotHeight, kInk);
    canvas.fill(kLeft, kTop + kPlotHeight, kPlotWidth, 1, kInk);
    const std::string x_title = "update", y_title = "loss (nats per token)";
    canvas.text(kLeft + (kPlotWidth - text_width(x_title)) / 2, kHeight - 38, x_title, kInk);
    canvas.text_upwards(22, kTop + (kPlotHeight + text_width(y_title)) / 2, y_title, kInk);
    for (const int x : {kLeft, kLeft + 1}) canvas.text(x, 24, title, kInk);  // twice: bold
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

std::vector<double> ticks(double low, double high, int wanted) {
    const double rough = (high - low) / wanted;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double lead = rough / power;
    const double distance = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
    std::vector<double> values;
    const double slack = 1e-9 * (high - low);
    for (double i = std::ceil((low - slack) / distance); i * distance <= high + slack; ++i)
        values.push_back(i * distance);
    return values;
}

Canvas draw(const LossCurves& curves) {
    Canvas canvas(kWidth, kHeight, kWhite);
    const Axes axes = axes_of(all_points(curves));
    draw_y_ticks(canvas, axes);
    draw_x_ticks(canvas, axes);
    draw_frame(canvas, curves.title);
    Legend legend(canvas);
    if (!curves.train.empty()) draw_train(canvas, legend, axes, curves.train);
    if (!curves.validation.empty()) draw_validation(canvas, legend, axes, curves.validation);
    return canvas;
}

}  // namespace ggq
