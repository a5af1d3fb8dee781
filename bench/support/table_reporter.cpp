#include "bench/support/table_reporter.h"

#include <fmt/core.h>

#include <algorithm>
#include <ostream>
#include <vector>

namespace ggq::bench {

namespace {

using Run = benchmark::BenchmarkReporter::Run;

constexpr const char* kRow = "{:<34} {:>12} {:>6} {:>11} {:>9} {:>9} {:>16}  {}\n";

// The part of "op/shape/rows" with that number.
std::string part(std::string text, int n) {
    for (; n > 0 && text.find('/') != std::string::npos; --n) text = text.substr(text.find('/') + 1);
    return text.substr(0, text.find('/'));
}

double value(const Run& run, const char* counter) {
    const auto found = run.counters.find(counter);
    return found == run.counters.end() ? 0 : found->second.value;
}

std::string number(double value) {
    return value >= 100 ? fmt::format("{:.0f}", value) : value > 0 ? fmt::format("{:.3g}", value) : "-";
}

std::string time(double seconds) {
    if (seconds < 1e-3) return fmt::format("{:.2f} us", seconds * 1e6);
    return seconds < 1 ? fmt::format("{:.3f} ms", seconds * 1e3) : fmt::format("{:.3f} s ", seconds);
}

// Of the ceiling that the case is nearer to.
std::string share(const Run& run) {
    const double bytes = value(run, "%bytes"), flops = value(run, "%flops");
    return std::max(bytes, flops) > 0
               ? fmt::format("{:.1f} % of {}", std::max(bytes, flops), bytes > flops ? "bytes" : "flops")
               : "-";
}

// Counters named "x ..." say how many times the speed of a baseline it is.
std::string ratios(const Run& run) {
    std::string text;
    for (const auto& [name, counter] : run.counters)
        if (name.starts_with("x ")) text += fmt::format("{}{:.2f}{}", text.empty() ? "" : ", ", counter.value, name);
    return text;
}

std::string row(const Run& run) {
    const std::string& name = run.run_name.function_name;
    if (run.error_occurred)
        return fmt::format("{:<34} {:>12} {:>6}  {}\n", part(name, 0), part(name, 1), part(name, 2), run.error_message);
    const double seconds = run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit);
    return fmt::format(kRow, part(name, 0), part(name, 1), part(name, 2), time(seconds), number(value(run, "GB/s")),
                       number(value(run, "TFLOP/s")), share(run), ratios(run));
}

}  // namespace

bool TableReporter::ReportContext(const Context&) {
    GetOutputStream() << fmt::format("\n{}: {}\n", family_, conditions_)
                      << fmt::format(kRow, "op", "shape", "rows", "time", "GB/s", "TFLOP/s", "share of ceiling",
                                     "times the speed of");
    return true;
}

void TableReporter::ReportRuns(const std::vector<Run>& runs) {
    for (const Run& run : runs)
        if (run.error_occurred || run.aggregate_name == "median" || run.repetitions <= 1) GetOutputStream() << row(run);
    GetOutputStream().flush();
}

}  // namespace ggq::bench
