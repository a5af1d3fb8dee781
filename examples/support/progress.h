// The progress of a training run on stderr: a bar that is redrawn where stderr is a terminal, else a plain line every
// `every` updates, or nothing. What is printed is made by plain functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ggq {

struct Progress {
    int64_t step = 0;
    int64_t total = 0;
    double loss = 0;
    double lr = 0;
    double grad_norm = 0;
    double tokens_per_second = 0;
    double seconds_left = 0;
    int64_t peak_bytes = 0;
    double share_of_ceiling = 0;  // 0: not known
};

std::string format_seconds(double seconds);  // "0:07", "12:07", "1:02:03"
std::string format_bytes(int64_t bytes);     // "812 B", "1.5 MiB"
std::string format_rate(double per_second);  // "87.3", "1234", "12.3k", "4.56M"

// "step 20/100 | loss 1.2345 | lr 2.00e-04 | grad norm 0.512 | 1234 tokens/s | 0:12 left | peak 120 MiB | 55 % of
// the ceiling"
std::string progress_line(const Progress& progress);

// "[=====>    ]  20/100  loss 1.2345  ..." in at most `width` columns; a narrow terminal gets fewer fields.
std::string progress_bar(const Progress& progress, int width);

class ProgressDisplay {
public:
    enum class Style { bar, lines, none };

    // Bar if stderr is a terminal, else lines; none if `quiet`.
    static Style style_for_stderr(bool quiet);

    ProgressDisplay(Style style, int64_t every) : style_(style), every_(every) {}
    ProgressDisplay(const ProgressDisplay&) = delete;
    ProgressDisplay& operator=(const ProgressDisplay&) = delete;
    ~ProgressDisplay();

    void update(const Progress& progress);

    // Text above the bar, as printable() shows it; nothing if the style is none.
    void note(const std::string& text);

    // Leaves the last bar standing and goes to the next line.
    void finish();

private:
    void clear_line();

    Style style_;
    int64_t every_;
    std::string bar_;  // as it stands on the terminal; empty: none
    std::chrono::steady_clock::time_point drawn_{};
};

}  // namespace ggq
