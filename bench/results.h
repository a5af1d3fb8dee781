// Results of benches as Google Benchmark writes them in JSON: joined into one file, and compared between two.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ggq/error.h"

namespace ggq::bench {

// Nanoseconds of a call, one value a repetition.
using Times = std::map<std::string, std::vector<double>>;

inline double in_nanoseconds(double time, const std::string& unit) {
    return time * (unit == "s" ? 1e9 : unit == "ms" ? 1e6 : unit == "us" ? 1e3 : 1);
}

// Without what Google Benchmark appends to a name.
inline std::string case_of(const std::string& name) { return name.substr(0, name.find("/min_time")); }

// Of every case that ran without an error. Throws Error "FILE: ..." for what is no such file.
inline Times times_of(const nlohmann::json& results, const std::string& file) {
    Times times;
    try {
        for (const nlohmann::json& run : results.at("benchmarks"))
            if (run.value("run_type", "iteration") == "iteration" && !run.value("error_occurred", false))
                times[case_of(run.at("name").get<std::string>())].push_back(
                    in_nanoseconds(run.at("real_time").get<double>(), run.at("time_unit").get<std::string>()));
    } catch (const nlohmann::json::exception& e) {
        fail("{}: expected results as make bench-json writes them, got {}; run make bench-json", file, e.what());
    }
    return times;
}

inline double median(std::vector<double> values) {
    std::ranges::sort(values);
    const size_t n = values.size();
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// How far repetitions lie apart, relative to their median.
inline double spread(const std::vector<double>& values) {
    const auto [least, most] = std::ranges::minmax(values);
    return (most - least) / median(values);
}

struct Movement {
    std::string name;
    double before = 0, after = 0;  // medians, nanoseconds
    double noise = 0;              // the larger spread of the two

    double relative() const { return after / before - 1; }
    // Twice as fast is as far as half as fast.
    double distance() const { return std::abs(std::log(after / before)); }
    bool beyond_noise() const { return std::abs(relative()) > noise; }
};

struct Comparison {
    std::vector<Movement> moved;  // beyond the noise, the farthest first
    size_t n_compared = 0;
    std::vector<std::string> only_before, only_after;
};

// Throws Error where a case was not repeated: its noise is not known.
inline Comparison compare(const Times& before, const Times& after) {
    Comparison c;
    for (const auto& [name, times] : before) {
        const auto found = after.find(name);
        if (found == after.end()) {
            c.only_before.push_back(name);
            continue;
        }
        require(times.size() > 1 && found->second.size() > 1,
                "{}: expected two repetitions or more in both files, got {} and {}; measure with "
                "--benchmark_repetitions=3",
                name, times.size(), found->second.size());
        const double noise = std::max(spread(times), spread(found->second));
        const Movement m{name, median(times), median(found->second), noise};
        ++c.n_compared;
        if (m.beyond_noise()) c.moved.push_back(m);
    }
    for (const auto& [name, times] : after)
        if (!before.contains(name)) c.only_after.push_back(name);
    std::ranges::stable_sort(c.moved, [](const Movement& a, const Movement& b) { return a.distance() > b.distance(); });
    return c;
}

inline std::string table(const Comparison& c) {
    std::string text;
    if (!c.moved.empty())
        text += fmt::format("{:<60} {:>12} {:>12} {:>9} {:>8}\n", "case", "before", "after", "change", "noise");
    for (const Movement& m : c.moved)
        text += fmt::format("{:<60} {:>9.2f} us {:>9.2f} us {:>+8.1f}% {:>7.1f}%\n", m.name, m.before * 1e-3,
                            m.after * 1e-3, 100 * m.relative(), 100 * m.noise);
    text += fmt::format("{} of {} cases moved beyond the noise", c.moved.size(), c.n_compared);
    if (!c.only_before.empty()) text += fmt::format("; {} only in the first file", c.only_before.size());
    if (!c.only_after.empty()) text += fmt::format("; {} only in the second", c.only_after.size());
    return text + "\n";
}

// The results of several families as one: the context of the first one without what is a family's own or the machine's
// name, and of each repetition what compare() and a reader want of it.
inline nlohmann::ordered_json joined(const std::vector<nlohmann::ordered_json>& parts) {
    nlohmann::ordered_json whole = {{"context", parts.at(0).at("context")},
                                    {"benchmarks", nlohmann::ordered_json::array()}};
    for (const char* key : {"family", "executable", "host_name", "load_avg"}) whole["context"].erase(key);
    for (const nlohmann::ordered_json& part : parts) {
        require(part.at("context").at("device") == whole["context"]["device"],
                "results of one device are joined, got {} and {}; join them apart",
                whole["context"]["device"].get<std::string>(), part.at("context").at("device").get<std::string>());
        for (nlohmann::ordered_json run : part.at("benchmarks")) {
            if (run.value("run_type", "iteration") != "iteration") continue;
            for (const char* key : {"family_index", "per_family_instance_index", "run_name", "threads", "cpu_time"})
                run.erase(key);
            whole["benchmarks"].push_back(std::move(run));
        }
    }
    return whole;
}

// A repetition a line.
inline std::string to_text(const nlohmann::ordered_json& results) {
    std::string text = "{\n\"context\": " + results.at("context").dump(1) + ",\n\"benchmarks\": [";
    const char* separator = "\n";
    for (const nlohmann::ordered_json& run : results.at("benchmarks")) {
        text += separator + run.dump();
        separator = ",\n";
    }
    return text + "\n]\n}\n";
}

// "NVIDIA H200" -> "nvidia-h200"; "cpu, 8 threads, avx2" -> "cpu-8-threads-avx2".
inline std::string file_name_of(const std::string& card) {
    std::string name;
    for (char c : card) {
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
        const bool upper = c >= 'A' && c <= 'Z';
        if (plain || upper) name += upper ? static_cast<char>(c - 'A' + 'a') : c;
        else if (!name.empty() && name.back() != '-') name += '-';
    }
    if (name.ends_with('-')) name.pop_back();
    return name;
}

}  // namespace ggq::bench
