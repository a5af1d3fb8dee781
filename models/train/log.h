// log.jsonl, the log of a training run: one JSON object a line, with the keys of transformers' log_history.
//
// The first line is {"run": ...}, the configuration and hashes; a resumed run adds another. Then an entry for each
// logged update, evaluation, and the end of the run. Every line is on its way to the disk before add() returns.
// JSON values are only passed on here: whoever makes or copies them includes <nlohmann/json.hpp>.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ggq/page_traffic.h"

namespace ggq {

struct TrainEntry {
    double loss = 0;  // nats a label token, mean over the updates since the last entry
    double grad_norm = 0;
    double learning_rate = 0;
    double epoch = 0;
    int64_t step = 0;
    int64_t num_tokens = 0;    // seen since the run began
    PageTraffic traffic = {};  // since the last entry; paged_in_bytes and so on, not written where nothing is paged
};

struct EvalEntry {
    double loss = 0;
    double seconds = 0;
    double samples_per_second = 0;
    double steps_per_second = 0;
    double epoch = 0;
    int64_t step = 0;
};

struct EndEntry {
    double seconds = 0;
    double samples_per_second = 0;
    double steps_per_second = 0;
    double loss = 0;  // mean over the whole run
    double total_flos = 0;
    double epoch = 0;
    int64_t step = 0;
    // Of the arithmetic that the documents needed, a second of updates; not written where the ceiling is not known.
    double flops = 0, ceiling = 0;
};

struct LogContent {
    std::vector<nlohmann::ordered_json> runs;     // of the run lines: how the run began and each time it was resumed
    std::vector<nlohmann::ordered_json> history;  // every other entry
};

// A last line that a crash cut short is left out; any other damaged line is an Error that names it.
LogContent read_log(const std::filesystem::path& path);

class TrainLog {
public:
    // Starts a new log; an old one at that path is replaced.
    static TrainLog start(const std::filesystem::path& path, const nlohmann::ordered_json& run);

    // Goes on with the log of a checkpoint, which had these entries: later ones and the end of an earlier run are cut.
    // A file without them is the log of another run and is replaced. A damaged one is kept under another name, which
    // `warn` hears of, and written anew: the checkpoint knows its entries.
    static TrainLog resume(const std::filesystem::path& path, const nlohmann::ordered_json& run,
                           std::vector<nlohmann::ordered_json> history,
                           const std::function<void(const std::string&)>& warn = {});

    void add(const TrainEntry& entry);
    void add(const EvalEntry& entry);
    void add(const EndEntry& entry);

    const std::vector<nlohmann::ordered_json>& history() const { return history_; }

    // Nothing if it was not measured after this update; NaN if it was not finite. It may have been measured before this
    // process: where patience ends, and where a run that had ended is resumed.
    std::optional<double> eval_loss_of(int64_t step) const;

private:
    TrainLog(std::filesystem::path path, std::vector<nlohmann::ordered_json> history);
    void append(nlohmann::ordered_json entry);

    std::filesystem::path path_;
    std::vector<nlohmann::ordered_json> history_;
    std::ofstream file_;
};

}  // namespace ggq
