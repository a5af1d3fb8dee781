// Which value of a choice among kernels is the fastest over several cases.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace ggq::bench {

// A value and what each case takes with it; no time where the result was wrong, whose value is never taken.
struct Candidate {
    int value = 0;
    std::vector<double> seconds = {};
    std::string problem = {};
};

struct Ranked {
    int value = 0;
    double relative = 0;  // the geometric mean of the times, of the value's that is taken today
    std::string problem = {};
};

// A value that gains less is noise.
inline constexpr double kLeastGain = 0.01;

inline double relative_time(const Candidate& c, const Candidate& today) {
    double sum = 0;
    for (size_t i = 0; i < c.seconds.size(); ++i) sum += std::log(c.seconds[i] / today.seconds[i]);
    return std::exp(sum / static_cast<double>(std::max<size_t>(c.seconds.size(), 1)));
}

// The fastest first, wrong ones last. `today` is one of the candidates and right; all have as many cases.
inline std::vector<Ranked> ranked(const std::vector<Candidate>& candidates, int today) {
    const auto now = std::ranges::find(candidates, today, &Candidate::value);
    std::vector<Ranked> list;
    for (const Candidate& c : candidates)
        list.push_back(
            {c.value, c.problem.empty() ? relative_time(c, *now) : std::numeric_limits<double>::infinity(), c.problem});
    std::ranges::stable_sort(list, {}, &Ranked::relative);
    return list;
}

// The value to take: today's, unless another one gains more than noise.
inline int chosen_value(const std::vector<Ranked>& list, int today) {
    const bool gains = list.front().relative < 1 - kLeastGain;
    return gains ? list.front().value : today;
}

inline std::string ranking_text(const std::vector<Ranked>& list, int today) {
    std::string text;
    for (const Ranked& r : list)
        text += fmt::format("  {:>4}  {}{}\n", r.value,
                            r.problem.empty() ? fmt::format("{:.3f} of the time", r.relative) : "wrong: " + r.problem,
                            r.value == today ? " (today)" : "");
    return text;
}

}  // namespace ggq::bench
