// What is wrong with training data, found before a run is spent on it: each finding names file, line and kind.
//
// Errors are what makes a model learn nothing, or something else than was meant; warnings are what may be meant so. A
// kind is a row of the table kLintKinds, in lint_kinds.h.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/events.h"
#include "models/lint/lint_kinds.h"
#include "models/train/options.h"

namespace ggq {

struct LintFinding {
    LintKind kind;
    std::string place;  // "data.jsonl: line 3"; of the data as a whole the files' names
    std::string text;   // what is wrong there
};

struct LintReport {
    static constexpr int64_t kMostOfAKind = 1000;  // findings that are kept; all are counted

    int64_t records = 0, samples = 0, tokens = 0, label_tokens = 0;
    std::array<int64_t, kLintKinds.size()> counts{};  // by kind
    std::vector<LintFinding> findings;                // in the order of the data

    int64_t count(LintKind kind) const { return counts[static_cast<size_t>(kind)]; }
    int64_t n_errors() const;
    int64_t n_warnings() const;
    void add(LintKind kind, std::string place, std::string text);
};

// Looks at every record of the data, and of the validation data if there is one. Reads the embedding of the model, no
// other weight. Throws Error where the files cannot be read at all, and Interrupted when `events.stop` says so.
LintReport lint(const TrainOptions& options, const Events& events);

// Lines for a person: at most `most_of_a_kind` findings of each, a table of the kinds that were found, and a sum.
std::vector<std::string> describe(const LintReport& report, int64_t most_of_a_kind = 5);
nlohmann::ordered_json to_json(const LintReport& report);

}  // namespace ggq
