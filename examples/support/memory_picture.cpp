#include "examples/support/memory_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "examples/support/canvas.h"
#include "examples/support/chart.h"
#include "examples/support/progress.h"
#include "examples/support/svg_picture.h"
#include "ggq/error.h"
#include "models/figures.h"

namespace ggq {

namespace {

constexpr int kLeft = 140, kRight = 290, kTop = 110, kBottom = 90;
constexpr int kPlotWidth = kPictureWidth - kLeft - kRight, kPlotHeight = kPictureHeight - kTop - kBottom;
constexpr int kBetween = 12;  // pixels from one program to the next
constexpr Color kPeak{190, 30, 45};

struct Band {
    const char* name;
    Color color;
    int64_t (*bytes)(const IterationMemory& memory, const ArenaUse& use);
};

// From below. What stays is in cold colors, what comes and goes in warm ones.
constexpr Band kBands[] = {
    {"context, libraries", {150, 157, 168}, [](const IterationMemory& m, const ArenaUse&) { return m.overhead; }},
    {"weights", {31, 99, 180}, [](const IterationMemory& m, const ArenaUse&) { return m.weights; }},
    {"parameters, state", {104, 165, 222}, [](const IterationMemory& m, const ArenaUse&) { return m.state; }},
    {"pages", {62, 150, 130}, [](const IterationMemory&, const ArenaUse& u) { return u.pages + u.migrated; }},
    {"kept activations", {217, 95, 14}, [](const IterationMemory&, const ArenaUse& u) { return u.kept; }},
    {"temporaries", {250, 170, 85}, [](const IterationMemory&, const ArenaUse& u) { return u.temporaries; }},
    {"workspace", {247, 215, 120}, [](const IterationMemory&, const ArenaUse& u) { return u.workspace; }},
};

const ArenaUse& use_at(const IterationMemory& m, StepPlace place) {
    return m.programs[place.program].steps[place.step];
}

struct Unit {
    const char* name;
    double bytes;
};

Unit unit_of(const IterationMemory& m) {
    return m.planned < (int64_t{1} << 27) ? Unit{"MiB", 1 << 20} : Unit{"GiB", 1 << 30};
}

// The area of each program, as wide as its share of the steps but no narrower than its name.
std::vector<Axes> areas_of(const IterationMemory& m) {
    const auto n_programs = static_cast<int>(m.programs.size());
    const int room = kPlotWidth - kBetween * (n_programs - 1);
    const int least = room / 10;
    size_t n_steps = 0;
    for (const ProgramMemory& p : m.programs) n_steps += p.steps.size();
    std::vector<Axes> areas;
    int spare = room - least * n_programs, left = kLeft;
    size_t steps_left = n_steps;
    for (const ProgramMemory& p : m.programs) {
        const int more = static_cast<int>(spare * p.steps.size() / std::max<size_t>(1, steps_left));
        spare -= more;
        steps_left -= p.steps.size();
        areas.push_back({left, kTop, least + more, kPlotHeight, {}, {}});
        areas.back().x = {0, static_cast<double>(p.steps.size())};
        areas.back().y = {0, 1.12 * static_cast<double>(m.planned) / unit_of(m).bytes};
        left += least + more + kBetween;
    }
    return areas;
}

// The step that a column of pixels shows: of those that fall into it the one with most memory.
std::vector<const ArenaUse*> shown_steps(const std::vector<ArenaUse>& steps, int width) {
    std::vector<const ArenaUse*> shown;
    for (int x = 0; x < width; ++x) {
        const size_t n = steps.size(), w = static_cast<size_t>(width), at = static_cast<size_t>(x);
        const auto first = steps.begin() + static_cast<std::ptrdiff_t>(at * n / w);
        const auto end = std::max(first + 1, steps.begin() + static_cast<std::ptrdiff_t>((at + 1) * n / w));
        shown.push_back(&*std::max_element(first, end, [](const ArenaUse& a, const ArenaUse& b) {
            return a.live() + a.migrated < b.live() + b.migrated;
        }));
    }
    return shown;
}

void draw_bands(const IterationMemory& m, const ProgramMemory& program, const Axes& area, Painter& painter) {
    const std::vector<const ArenaUse*> shown = shown_steps(program.steps, area.width);
    const double unit = unit_of(m).bytes;
    std::vector<int64_t> below(shown.size(), 0);
    const auto row = [&](int64_t n_bytes) {
        return static_cast<int>(std::lround(area.place({0, static_cast<double>(n_bytes) / unit}).y));
    };
    for (const Band& band : kBands) {
        std::vector<PixelSpan> spans;
        for (size_t i = 0; i < shown.size(); ++i) {
            const int64_t above = below[i] + band.bytes(m, *shown[i]);
            spans.push_back({row(above), row(below[i])});
            below[i] = above;
        }
        if (std::ranges::any_of(spans, [](const PixelSpan& s) { return s.top < s.bottom; }))
            painter.columns(area.left, spans, band.color);
    }
}

void draw_passes(const ProgramMemory& program, const Axes& area, Painter& painter) {
    if (program.first_backward >= program.steps.size()) return;
    const int x = static_cast<int>(area.place({static_cast<double>(program.first_backward), 0}).x);
    painter.fill(x, area.top, 1, area.height, kInk);
    painter.text(x - 12 - text_width("forward"), area.top + 4, "forward", kFaintInk);
    painter.text(x + 12, area.top + 4, "backward", kFaintInk);
}

void draw_planned(const IterationMemory& m, const Axes& area, Painter& painter) {
    constexpr int kDash = 8;
    const int y = static_cast<int>(area.place({0, static_cast<double>(m.planned) / unit_of(m).bytes}).y);
    const int end = area.left + area.width;
    for (int x = area.left; x < end; x += 2 * kDash) painter.fill(x, y, std::min(kDash, end - x), 1, kPeak);
}

void draw_peak(const IterationMemory& m, const std::vector<Axes>& areas, Painter& painter) {
    const StepPlace peak = peak_of(m);
    const int64_t n_bytes = m.at(use_at(m, peak));
    const Point at = areas[peak.program].place(
        {static_cast<double>(peak.step) + 0.5, static_cast<double>(n_bytes) / unit_of(m).bytes});
    painter.disc(at, 7, kWhite);
    painter.disc(at, 5, kPeak);
    painter.disc({kLeft + 6.0, 67}, 5, kPeak);
    painter.text(
        kLeft + 22, 60,
        fmt::format("peak: {} at step {} of {}; reserved: {}", format_bytes(n_bytes),
                    thousands(static_cast<int64_t>(peak.step)), m.programs[peak.program].name, format_bytes(m.planned)),
        kFaintInk);
}

bool is_drawn(const Band& band, const IterationMemory& m) {
    return std::ranges::any_of(m.programs, [&](const ProgramMemory& p) {
        return std::ranges::any_of(p.steps, [&](const ArenaUse& use) { return band.bytes(m, use) > 0; });
    });
}

// From above, as the bands lie, each with its bytes at the peak.
void draw_legend(const IterationMemory& m, Painter& painter) {
    constexpr int kRow = 58, kSwatch = 20;
    const int x = kLeft + kPlotWidth + 34;
    int y = kTop + 4;
    painter.text(x, y, "at the peak:", kInk);
    for (auto band = std::rbegin(kBands); band != std::rend(kBands); ++band) {
        if (!is_drawn(*band, m)) continue;
        y += kRow;
        painter.fill(x, y, kSwatch, kSwatch, band->color);
        painter.text(x + kSwatch + 12, y - 4, band->name, kInk);
        painter.text(x + kSwatch + 12, y + 16, format_bytes(band->bytes(m, use_at(m, peak_of(m)))), kFaintInk);
    }
}

}  // namespace

IterationMemory memory_of(const TrainingModel& training, std::string title) {
    const MemoryUse use = training.set.memory();
    IterationMemory m{std::move(title),
                      use.overhead,
                      use.weights,
                      use.parameters + use.state + use.inputs,
                      {},
                      use.total() + use.migrated + use.overhead};
    for (const Program* p : training.iteration())
        m.programs.push_back({p->name(), first_backward_step(p->plan(), p->graph()), arena_use(p->plan(), p->graph())});
    return m;
}

StepPlace peak_of(const IterationMemory& memory) {
    StepPlace peak;
    for (size_t i = 0; i < memory.programs.size(); ++i)
        for (size_t j = 0; j < memory.programs[i].steps.size(); ++j)
            if (memory.at(memory.programs[i].steps[j]) > memory.at(use_at(memory, peak))) peak = {i, j};
    return peak;
}

void draw(const IterationMemory& memory, Painter& painter) {
    const std::vector<Axes> areas = areas_of(memory);
    for (size_t i = 0; i < areas.size(); ++i) {
        Axes of_all = areas[i];
        of_all.left = kLeft;
        of_all.width = kPlotWidth;
        const ProgramMemory& program = memory.programs[i];
        if (i == 0) draw_y_ticks(painter, of_all);
        draw_x_ticks(painter, areas[i], i + 1 < areas.size() ? areas[i + 1].left - kBetween : INT_MAX);
        draw_bands(memory, program, areas[i], painter);
        draw_passes(program, areas[i], painter);
        draw_planned(memory, areas[i], painter);
        draw_frame(painter, areas[i], (i == 0 ? "step of " : "") + program.name,
                   i == 0 ? fmt::format("memory ({})", unit_of(memory).name) : "");
    }
    draw_title(painter, areas[0], memory.title);
    draw_peak(memory, areas, painter);
    draw_legend(memory, painter);
}

bool is_picture(const std::filesystem::path& path) { return path.extension() == ".png" || path.extension() == ".svg"; }

void save_picture(const IterationMemory& memory, const std::filesystem::path& path) {
    GGQ_ASSERT(is_picture(path), path.string());
    if (path.extension() == ".svg") {
        SvgPicture picture(kPictureWidth, kPictureHeight, kWhite);
        draw(memory, picture);
        picture.save_svg(path);
        return;
    }
    Canvas canvas(kPictureWidth, kPictureHeight, kWhite);
    draw(memory, canvas);
    canvas.save_png(path);
}

}  // namespace ggq
