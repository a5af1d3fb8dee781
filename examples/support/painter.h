// What a picture is drawn with. The same calls make pixels (Canvas) or the text of an SVG (SvgPicture).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ggq {

struct Color {
    uint8_t r = 0, g = 0, b = 0;
    bool operator==(const Color&) const = default;
};

struct Point {
    double x = 0, y = 0;
};

// Pixels [top, bottom) of a column.
struct PixelSpan {
    int top = 0, bottom = 0;
    bool operator==(const PixelSpan&) const = default;
};

class Painter {
public:
    virtual ~Painter() = default;

    // Pixels [x, x + width) x [y, y + height); parts beyond the picture are left out.
    virtual void fill(int x, int y, int width, int height, Color color) = 0;

    // Columns one pixel wide side by side, the first at x.
    virtual void columns(int x, const std::vector<PixelSpan>& spans, Color color) = 0;

    // One stroke: where the line meets or crosses itself no pixel is drawn twice.
    virtual void polyline(const std::vector<Point>& points, double thickness, Color color) = 0;
    virtual void disc(Point center, double radius, Color color) = 0;

    // (x, y) is the upper left corner. What is not ASCII becomes '?'.
    virtual void text(int x, int y, std::string_view words, Color color) = 0;
    // Read from below: (x, y) is the lower left corner.
    virtual void text_upwards(int x, int y, std::string_view words, Color color) = 0;
};

std::string ascii_of(std::string_view words);  // with '?' for what is not
int text_width(std::string_view words);
inline constexpr int kTextHeight = 18;  // of a line: capitals are 14 high, descenders 4

}  // namespace ggq
