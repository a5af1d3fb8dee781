// How tests compare numbers: the relative L2 distance and every element, with the worst one shown; and sets of names.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <string>

namespace ggq::test {

// Empty if `actual` is close to `expected`: a relative L2 distance of at most `tolerance`, and no element farther off
// than `elementwise` (|expected| + rms(expected)), by default 10 tolerance. `floor` is the least rms that errors are
// taken relative to, for results in which larger terms cancel. A share of `outliers` may be farther off than that.
inline std::string difference(std::span<const double> actual, std::span<const double> expected, double tolerance,
                              double floor = 0, double elementwise = 0, double outliers = 0) {
    if (actual.size() != expected.size())
        return fmt::format("{} elements, expected {}", actual.size(), expected.size());
    double error = 0, norm = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
        error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    const auto n = static_cast<double>(actual.size());
    norm = std::max(norm, floor * floor * n);
    const double rms = std::sqrt(norm / n);
    size_t worst = 0, n_off = 0;
    double worst_ratio = -1;
    for (size_t i = 0; i < actual.size(); ++i) {
        const double allowed = (elementwise > 0 ? elementwise : 10 * tolerance) * (std::abs(expected[i]) + rms);
        const double off = std::abs(actual[i] - expected[i]);
        const double ratio = off == 0 ? 0 : std::isfinite(off) && allowed > 0 ? off / allowed : INFINITY;
        n_off += ratio > 1;
        if (ratio > worst_ratio) worst_ratio = ratio, worst = i;
    }
    if (actual.empty() || (error <= tolerance * tolerance * norm && static_cast<double>(n_off) <= outliers * n))
        return "";
    return fmt::format("relative L2 {:.3g} of at most {:.3g}; {} of {} off, worst at {}: {:.9g}, expected {:.9g}",
                       std::sqrt(error / norm), tolerance, n_off, actual.size(), worst, actual[worst], expected[worst]);
}

// Empty if both hold the same names; else "lacks a, b; has c beside".
inline std::string difference(const std::set<std::string>& actual, const std::set<std::string>& expected) {
    const auto without = [](const std::set<std::string>& names, const std::set<std::string>& others) {
        std::string text;
        for (const std::string& name : names)
            if (!others.contains(name)) text += (text.empty() ? "" : ", ") + name;
        return text;
    };
    const std::string lacks = without(expected, actual), beside = without(actual, expected);
    return (lacks.empty() ? "" : "lacks " + lacks) + (lacks.empty() || beside.empty() ? "" : "; ") +
           (beside.empty() ? "" : "has " + beside + " beside");
}

}  // namespace ggq::test
