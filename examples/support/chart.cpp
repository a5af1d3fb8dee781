#include "examples/support/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ggq {

namespace {

// As many decimals as the distance of the ticks needs.
std::string tick_text(double value, double distance) {
    if (std::abs(value) < distance * 1e-6) value = 0;
    if (std::abs(value) >= 1e5) return fmt::format("{:.2g}", value);
    return fmt::format("{:.{}f}", value, std::max(0, static_cast<int>(std::ceil(-std::log10(distance) - 1e-9))));
}

}  // namespace

Point Axes::place(Point value) const {
    return {left + (value.x - x.low) / (x.high - x.low) * width, top + (y.high - value.y) / (y.high - y.low) * height};
}

std::vector<Point> Axes::place(const std::vector<Point>& values) const {
    std::vector<Point> points;
    for (const Point& value : values) points.push_back(place(value));
    return points;
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

void draw_y_ticks(Painter& painter, const Axes& axes) {
    const std::vector<double> values = ticks(axes.y.low, axes.y.high, 8);
    for (const double value : values) {
        const int y = static_cast<int>(axes.place({axes.x.low, value}).y);
        painter.fill(axes.left, y, axes.width, 1, kGrid);
        painter.fill(axes.left - 6, y, 6, 1, kInk);
        const std::string text = tick_text(value, values.size() > 1 ? values[1] - values[0] : 1);
        painter.text(axes.left - 12 - text_width(text), y - 7, text, kInk);
    }
}

void draw_x_ticks(Painter& painter, const Axes& axes, int end) {
    constexpr int kDistance = 110;  // pixels
    for (const double value : ticks(axes.x.low, axes.x.high, std::max(1, axes.width / kDistance))) {
        if (value != std::floor(value)) continue;  // there is no half update or step
        const int x = static_cast<int>(axes.place({value, axes.y.low}).x);
        painter.fill(x, axes.top, 1, axes.height, kGrid);
        painter.fill(x, axes.top + axes.height, 1, 6, kInk);
        const std::string text = tick_text(value, 1);
        const int left = x - text_width(text) / 2;
        if (left + text_width(text) < end) painter.text(left, axes.top + axes.height + 12, text, kInk);
    }
}

void draw_frame(Painter& painter, const Axes& axes, const std::string& x_title, const std::string& y_title) {
    const int bottom = axes.top + axes.height;
    painter.fill(axes.left, axes.top, 1, axes.height, kInk);
    painter.fill(axes.left, bottom, axes.width, 1, kInk);
    painter.text(axes.left + (axes.width - text_width(x_title)) / 2, bottom + 52, x_title, kInk);
    painter.text_upwards(22, axes.top + (axes.height + text_width(y_title)) / 2, y_title, kInk);
}

void draw_title(Painter& painter, const Axes& axes, const std::string& title) {
    for (const int x : {axes.left, axes.left + 1}) painter.text(x, 24, title, kInk);  // twice: bold
}

}  // namespace ggq
