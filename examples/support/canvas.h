// A picture in 8-bit RGB on which lines, discs, boxes and text are drawn, and which is saved as PNG.
// Lines and discs are smoothed by their coverage of each pixel; text is stb_easy_font's, twice its size.
#pragma once

#include <cstdint>
#include <filesystem>
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

class Canvas {
public:
    Canvas(int width, int height, Color background);

    int width() const { return width_; }
    int height() const { return height_; }
    Color at(int x, int y) const;

    // Pixels [x, x + width) x [y, y + height); parts beyond the picture are left out.
    void fill(int x, int y, int width, int height, Color color);

    // One stroke: where the line meets or crosses itself no pixel is drawn twice.
    void polyline(const std::vector<Point>& points, double thickness, Color color);
    void disc(Point center, double radius, Color color);

    // (x, y) is the upper left corner. What is not ASCII becomes '?'.
    void text(int x, int y, std::string_view words, Color color);
    // Read from below: (x, y) is the lower left corner.
    void text_upwards(int x, int y, std::string_view words, Color color);

    void save_png(const std::filesystem::path& path) const;

private:
    void blend(int x, int y, double coverage, Color color);

    int width_, height_;
    std::vector<uint8_t> rgb_;  // [height, width, 3]
};

int text_width(std::string_view words);
inline constexpr int kTextHeight = 18;  // of a line: capitals are 14 high, descenders 4

}  // namespace ggq
