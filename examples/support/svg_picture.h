// A picture as the text of an SVG: shapes in the pixels of a Canvas, which can be scaled without loss.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "examples/support/painter.h"

namespace ggq {

class SvgPicture final : public Painter {
public:
    SvgPicture(int width, int height, Color background);

    void fill(int x, int y, int width, int height, Color color) override;
    void columns(int x, const std::vector<PixelSpan>& spans, Color color) override;
    void polyline(const std::vector<Point>& points, double thickness, Color color) override;
    void disc(Point center, double radius, Color color) override;
    void text(int x, int y, std::string_view words, Color color) override;
    void text_upwards(int x, int y, std::string_view words, Color color) override;

    std::string svg() const;
    void save_svg(const std::filesystem::path& path) const;

private:
    void add_text(std::string_view place, std::string_view words, Color color);

    int width_, height_;
    std::string shapes_;  // a line each
};

}  // namespace ggq
