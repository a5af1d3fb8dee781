#include "examples/support/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"

// Both headers hold more functions than are used here.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>

#include <stb/stb_easy_font.h>
#pragma GCC diagnostic pop

namespace ggq {

namespace {

constexpr int kTextScale = 2;

struct Box {
    int x, y, width, height;
};

// The strokes of the letters, each a box in pixels from the upper left corner.
std::vector<Box> letter_boxes(std::string_view words) {
    struct Corner {
        float x, y, z;
        std::array<uint8_t, 4> color;
    };
    static_assert(sizeof(Corner) == 16);
    constexpr size_t kMostCorners = 4 * 24;  // of one letter
    std::string ascii = ascii_of(words);
    std::vector<Corner> corners(ascii.size() * kMostCorners + 4);
    const int n_bytes = static_cast<int>(corners.size() * sizeof(Corner));
    const int n_boxes = stb_easy_font_print(0, 0, ascii.data(), nullptr, corners.data(), n_bytes);
    std::vector<Box> boxes;
    for (int i = 0; i < n_boxes; ++i) {
        const Corner& first = corners[static_cast<size_t>(4 * i)];
        const Corner& opposite = corners[static_cast<size_t>(4 * i + 2)];
        const auto scaled = [](float v) { return kTextScale * static_cast<int>(std::lround(v)); };
        boxes.push_back({scaled(first.x), scaled(first.y), scaled(opposite.x - first.x), scaled(opposite.y - first.y)});
    }
    return boxes;
}

double distance(Point p, Point a, Point b) {
    const double dx = b.x - a.x, dy = b.y - a.y;
    const double length2 = dx * dx + dy * dy;
    const double along = length2 > 0 ? std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length2, 0.0, 1.0) : 0;
    return std::hypot(p.x - a.x - along * dx, p.y - a.y - along * dy);
}

struct PixelRange {
    int x0, y0, x1, y1;  // x1 and y1 are beyond the last
};

PixelRange pixels_near(Point a, Point b, double reach, int width, int height) {
    const auto first = [&](double v, int limit) { return static_cast<int>(std::clamp<double>(v - reach, 0, limit)); };
    const auto past = [&](double v, int limit) {
        return static_cast<int>(std::clamp<double>(v + reach + 1, 0, limit));
    };
    return {first(std::min(a.x, b.x), width), first(std::min(a.y, b.y), height), past(std::max(a.x, b.x), width),
            past(std::max(a.y, b.y), height)};
}

}  // namespace

std::string ascii_of(std::string_view words) {
    std::string ascii(words);
    for (char& c : ascii)
        if (c < ' ' || c > '~') c = '?';
    return ascii;
}

int text_width(std::string_view words) {
    std::string ascii = ascii_of(words);
    return kTextScale * stb_easy_font_width(ascii.data());
}

Canvas::Canvas(int width, int height, Color background)
    : width_(width), height_(height), rgb_(static_cast<size_t>(width) * static_cast<size_t>(height) * 3) {
    fill(0, 0, width, height, background);
}

Color Canvas::at(int x, int y) const {
    GGQ_ASSERT(x >= 0 && x < width_ && y >= 0 && y < height_);
    const uint8_t* pixel = &rgb_[3 * (static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x))];
    return {pixel[0], pixel[1], pixel[2]};
}

void Canvas::blend(int x, int y, double coverage, Color color) {
    uint8_t* pixel = &rgb_[3 * (static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x))];
    const std::array<uint8_t, 3> wanted = {color.r, color.g, color.b};
    for (size_t i = 0; i < 3; ++i)
        pixel[i] = static_cast<uint8_t>(std::lround(pixel[i] + coverage * (wanted[i] - pixel[i])));
}

void Canvas::fill(int x, int y, int width, int height, Color color) {
    for (int row = std::max(y, 0); row < std::min(y + height, height_); ++row)
        for (int column = std::max(x, 0); column < std::min(x + width, width_); ++column) blend(column, row, 1, color);
}

void Canvas::columns(int x, const std::vector<PixelSpan>& spans, Color color) {
    for (const PixelSpan& s : spans) fill(x++, s.top, 1, s.bottom - s.top, color);
}

void Canvas::polyline(const std::vector<Point>& points, double thickness, Color color) {
    std::vector<float> coverage(static_cast<size_t>(width_) * static_cast<size_t>(height_));
    const double radius = thickness / 2;
    for (size_t i = 1; i < points.size(); ++i) {
        const auto [x0, y0, x1, y1] = pixels_near(points[i - 1], points[i], radius + 1, width_, height_);
        for (int y = y0; y < y1; ++y)
            for (int x = x0; x < x1; ++x) {
                const double away = distance({x + 0.5, y + 0.5}, points[i - 1], points[i]);
                float& most = coverage[static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)];
                most = std::max(most, static_cast<float>(std::clamp(radius + 0.5 - away, 0.0, 1.0)));
            }
    }
    for (int y = 0; y < height_; ++y)
        for (int x = 0; x < width_; ++x)
            if (const float c = coverage[static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)];
                c > 0)
                blend(x, y, c, color);
}

void Canvas::disc(Point center, double radius, Color color) {
    const auto [x0, y0, x1, y1] = pixels_near(center, center, radius + 1, width_, height_);
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) {
            const double away = std::hypot(x + 0.5 - center.x, y + 0.5 - center.y);
            blend(x, y, std::clamp(radius + 0.5 - away, 0.0, 1.0), color);
        }
}

void Canvas::text(int x, int y, std::string_view words, Color color) {
    for (const Box& box : letter_boxes(words)) fill(x + box.x, y + box.y, box.width, box.height, color);
}

void Canvas::text_upwards(int x, int y, std::string_view words, Color color) {
    for (const Box& box : letter_boxes(words)) fill(x + box.y, y - box.x - box.width, box.height, box.width, color);
}

void Canvas::save_png(const std::filesystem::path& path) const {
    AtomicFile file(path);
    const auto write = [](void* context, void* data, int n_bytes) {
        static_cast<AtomicFile*>(context)->write(data, n_bytes);
    };
    const int ok = stbi_write_png_to_func(write, &file, width_, height_, 3, rgb_.data(), 3 * width_);
    require(ok != 0, "cannot write {}: out of memory", path.string());
    file.commit();
}

}  // namespace ggq
