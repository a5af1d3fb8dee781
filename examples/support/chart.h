// What charts have in common: axes with round ticks, and titles.
#pragma once

#include <climits>
#include <string>
#include <vector>

#include "examples/support/painter.h"

namespace ggq {

inline constexpr Color kWhite{255, 255, 255}, kInk{40, 44, 52}, kFaintInk{110, 116, 126}, kGrid{228, 231, 236};

struct Range {
    double low = 0, high = 1;
};

// From values to pixels of the area that the axes enclose.
struct Axes {
    int left = 0, top = 0, width = 0, height = 0;
    Range x, y;

    Point place(Point value) const;
    std::vector<Point> place(const std::vector<Point>& values) const;
};

// About `wanted` round numbers (1, 2 or 5 times a power of ten apart) that lie in [low, high].
std::vector<double> ticks(double low, double high, int wanted);

void draw_y_ticks(Painter& painter, const Axes& axes);
// Whole numbers; `end`: the pixel that no number may reach.
void draw_x_ticks(Painter& painter, const Axes& axes, int end = INT_MAX);
void draw_frame(Painter& painter, const Axes& axes, const std::string& x_title, const std::string& y_title);
void draw_title(Painter& painter, const Axes& axes, const std::string& title);

}  // namespace ggq
