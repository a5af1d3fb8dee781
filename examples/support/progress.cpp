#include "examples/support/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr int kBarColumns = 24;
constexpr int kUsualWidth = 100;
constexpr auto kRedrawEvery = std::chrono::milliseconds(100);

void put(const std::string& text) {
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
}

int terminal_width() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualWidth;
}

// Of what a product reaches on the device.
std::string share_text(const char* before, const Progress& p) {
    return p.share_of_ceiling > 0 ? fmt::format("{}{:.0f} % of the ceiling", before, 100 * p.share_of_ceiling) : "";
}

std::string bar_of(const Progress& p) {
    const double share = p.total > 0 ? static_cast<double>(p.step) / static_cast<double>(p.total) : 0;
    const int full = std::clamp(static_cast<int>(share * kBarColumns), 0, kBarColumns);
    const bool done = full == kBarColumns;
    return '[' + std::string(static_cast<size_t>(full), '=') + (done ? "" : ">") +
           std::string(static_cast<size_t>(done ? 0 : kBarColumns - full - 1), ' ') + ']';
}

}  // namespace

std::string format_seconds(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) return "-:--";
    const auto whole = static_cast<int64_t>(std::min(seconds + 0.5, 1e15));
    const int64_t hours = whole / 3600, minutes = whole / 60 % 60, rest = whole % 60;
    return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest) : fmt::format("{}:{:02}", minutes, rest);
}

std::string format_bytes(int64_t bytes) {
    if (bytes < 1024) return fmt::format("{} B", bytes);
    const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double amount = static_cast<double>(bytes) / 1024;
    size_t unit = 0;
    for (; amount >= 999.5 && unit < std::size(units) - 1; ++unit) amount /= 1024;
    return fmt::format("{:.{}f} {}", amount, amount < 9.95 ? 2 : amount < 99.5 ? 1 : 0, units[unit]);
}

std::string format_rate(double per_second) {
    if (!std::isfinite(per_second)) return "-";
    if (per_second < 99.95) return fmt::format("{:.1f}", per_second);
    if (per_second < 9999.5) return fmt::format("{:.0f}", per_second);
    if (per_second < 999'950) return fmt::format("{:.1f}k", per_second / 1e3);
    return fmt::format("{:.2f}M", per_second / 1e6);
}

std::string progress_line(const Progress& p) {
    return fmt::format("step {}/{} | loss {:.4f} | lr {:.2e} | grad norm {:.3g} | {} tokens/s | {} left | peak {}{}",
                       p.step, p.total, p.loss, p.lr, p.grad_norm, format_rate(p.tokens_per_second),
                       format_seconds(p.seconds_left), format_bytes(p.peak_bytes), share_text(" | ", p));
}

std::string progress_bar(const Progress& p, int width) {
    const std::string total = fmt::to_string(p.total);
    // In the order in which they are missed least.
    const std::vector<std::string> fields = {
        fmt::format("{:>{}}/{}", p.step, total.size(), total),
        fmt::format("  loss {:.4f}", p.loss),
        fmt::format("  {} left", format_seconds(p.seconds_left)),
        fmt::format("  {} tokens/s", format_rate(p.tokens_per_second)),
        share_text("  ", p),
        fmt::format("  lr {:.2e}", p.lr),
        fmt::format("  grad norm {:.3g}", p.grad_norm),
        fmt::format("  peak {}", format_bytes(p.peak_bytes)),
    };
    const auto room = static_cast<size_t>(std::max(width, 0));
    std::string text = bar_of(p) + ' ';
    if (text.size() + fields[0].size() > room) text.clear();
    for (const std::string& field : fields) {
        if (text.size() + field.size() > room) break;
        text += field;
    }
    return text;
}

ProgressDisplay::Style ProgressDisplay::style_for_stderr(bool quiet) {
    if (quiet) return Style::none;
    return isatty(STDERR_FILENO) == 1 ? Style::bar : Style::lines;
}

ProgressDisplay::~ProgressDisplay() {
    if (!bar_.empty()) std::fputc('\n', stderr);
}

void ProgressDisplay::update(const Progress& progress) {
    const bool last = progress.step == progress.total;
    if (style_ == Style::lines && (last || progress.step % every_ == 0)) put(progress_line(progress) + '\n');
    if (style_ != Style::bar) return;
    const auto now = std::chrono::steady_clock::now();
    if (!last && now - drawn_ < kRedrawEvery) return;
    drawn_ = now;
    clear_line();
    bar_ = progress_bar(progress, terminal_width() - 1);  // a full line would make some terminals scroll
    put(bar_);
}

void ProgressDisplay::note(const std::string& text) {
    if (style_ == Style::none) return;
    clear_line();
    put(printable(text) + '\n' + bar_);
}

void ProgressDisplay::finish() {
    if (!bar_.empty()) put("\n");
    bar_.clear();
}

// To the first column, and erase to the end of the line.
void ProgressDisplay::clear_line() {
    if (!bar_.empty()) put("\r\x1b[K");
}

}  // namespace ggq
