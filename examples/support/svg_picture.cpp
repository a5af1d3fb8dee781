#include "examples/support/svg_picture.h"

#include <fmt/format.h>

#include <iterator>

#include "ggq/io/atomic_file.h"

namespace ggq {

namespace {

// Capitals of the usual sans serif are as high then as those of a Canvas.
constexpr int kFontSize = 19, kCapitalHeight = 14;

std::string hex(Color c) { return fmt::format("#{:02x}{:02x}{:02x}", c.r, c.g, c.b); }

std::string escaped(std::string_view words) {
    std::string text;
    for (const char c : ascii_of(words)) {
        if (c == '&') text += "&amp;";
        else if (c == '<') text += "&lt;";
        else if (c == '>') text += "&gt;";
        else text += c;
    }
    return text;
}

// Along the tops from the left, and back along the bottoms; equal columns are one edge.
std::string outline(int x, const std::vector<PixelSpan>& spans) {
    std::string path;
    const auto to = [&](int px, int py) { path += fmt::format("{}{} {}", path.empty() ? 'M' : 'L', px, py); };
    const auto n = static_cast<int>(spans.size());
    const auto at = [&](int i) { return spans[static_cast<size_t>(i)]; };
    for (int i = 0; i < n; ++i) {
        if (i == 0 || at(i).top != at(i - 1).top) to(x + i, at(i).top);
        if (i + 1 == n || at(i).top != at(i + 1).top) to(x + i + 1, at(i).top);
    }
    for (int i = n - 1; i >= 0; --i) {
        if (i + 1 == n || at(i).bottom != at(i + 1).bottom) to(x + i + 1, at(i).bottom);
        if (i == 0 || at(i).bottom != at(i - 1).bottom) to(x + i, at(i).bottom);
    }
    return path + 'Z';
}

}  // namespace

SvgPicture::SvgPicture(int width, int height, Color background) : width_(width), height_(height) {
    fill(0, 0, width, height, background);
}

void SvgPicture::fill(int x, int y, int width, int height, Color color) {
    fmt::format_to(std::back_inserter(shapes_), "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n", x,
                   y, width, height, hex(color));
}

void SvgPicture::columns(int x, const std::vector<PixelSpan>& spans, Color color) {
    if (spans.empty()) return;
    fmt::format_to(std::back_inserter(shapes_), "<path d=\"{}\" fill=\"{}\"/>\n", outline(x, spans), hex(color));
}

void SvgPicture::polyline(const std::vector<Point>& points, double thickness, Color color) {
    std::string places;
    for (const Point& p : points)
        fmt::format_to(std::back_inserter(places), "{}{:.2f},{:.2f}", places.empty() ? "" : " ", p.x, p.y);
    fmt::format_to(std::back_inserter(shapes_),
                   "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{:g}\" "
                   "stroke-linecap=\"round\" stroke-linejoin=\"round\"/>\n",
                   places, hex(color), thickness);
}

void SvgPicture::disc(Point center, double radius, Color color) {
    fmt::format_to(std::back_inserter(shapes_), "<circle cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"{:g}\" fill=\"{}\"/>\n",
                   center.x, center.y, radius, hex(color));
}

void SvgPicture::text(int x, int y, std::string_view words, Color color) {
    add_text(fmt::format("x=\"{}\" y=\"{}\"", x, y + kCapitalHeight), words, color);
}

void SvgPicture::text_upwards(int x, int y, std::string_view words, Color color) {
    add_text(fmt::format("transform=\"translate({} {}) rotate(-90)\"", x + kCapitalHeight, y), words, color);
}

// As wide as on a Canvas, whatever font there is.
void SvgPicture::add_text(std::string_view place, std::string_view words, Color color) {
    fmt::format_to(std::back_inserter(shapes_),
                   "<text {} textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\">{}</text>\n", place,
                   text_width(words), hex(color), escaped(words));
}

std::string SvgPicture::svg() const {
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"{2}\">\n{3}</svg>\n",
        width_, height_, kFontSize, shapes_);
}

void SvgPicture::save_svg(const std::filesystem::path& path) const { write_file(path, svg()); }

}  // namespace ggq
