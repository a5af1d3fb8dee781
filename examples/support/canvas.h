// A picture in 8-bit RGB on which lines, discs, boxes and text are drawn, and which is saved as PNG.
// Lines and discs are smoothed by their coverage of each pixel; text is stb_easy_font's, twice its size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "examples/support/painter.h"

namespace ggq {

class Canvas final : public Painter {
public:
    Canvas(int width, int height, Color background);

    int width() const { return width_; }
    int height() const { return height_; }
    Color at(int x, int y) const;

    void fill(int x, int y, int width, int height, Color color) override;
    void columns(int x, const std::vector<PixelSpan>& spans, Color color) override;
    void polyline(const std::vector<Point>& points, double thickness, Color color) override;
    void disc(Point center, double radius, Color color) override;
    void text(int x, int y, std::string_view words, Color color) override;
    void text_upwards(int x, int y, std::string_view words, Color color) override;

    void save_png(const std::filesystem::path& path) const;

private:
    void blend(int x, int y, double coverage, Color color);

    int width_, height_;
    std::vector<uint8_t> rgb_;  // [height, width, 3]
};

}  // namespace ggq
