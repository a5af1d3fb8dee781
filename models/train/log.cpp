#include "models/train/log.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/input_file.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/write_aside.h"

namespace ggq {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const TrainEntry& e) {
    Json json = {{"loss", e.loss},   {"grad_norm", e.grad_norm}, {"learning_rate", e.learning_rate},
                 {"epoch", e.epoch}, {"step", e.step},           {"num_tokens", e.num_tokens}};
    const PageTraffic& t = e.traffic;
    if (t.bytes_in + t.bytes_out == 0) return json;
    json["paged_in_bytes"] = t.bytes_in;
    json["paged_out_bytes"] = t.bytes_out;
    json["page_stalls"] = t.stalls;
    json["page_stall_seconds"] = t.stalled_seconds;
    return json;
}

Json to_json(const EvalEntry& e) {
    return {{"eval_loss", e.loss},
            {"eval_runtime", e.seconds},
            {"eval_samples_per_second", e.samples_per_second},
            {"eval_steps_per_second", e.steps_per_second},
            {"epoch", e.epoch},
            {"step", e.step}};
}

Json to_json(const EndEntry& e) {
    Json json = {{"train_runtime", e.seconds},
                 {"train_samples_per_second", e.samples_per_second},
                 {"train_steps_per_second", e.steps_per_second},
                 {"total_flos", e.total_flos},
                 {"train_loss", e.loss},
                 {"epoch", e.epoch},
                 {"step", e.step}};
    if (e.ceiling <= 0) return json;
    json["tflops"] = e.flops * 1e-12;
    json["ceiling_tflops"] = e.ceiling * 1e-12;
    json["share_of_ceiling"] = e.flops / e.ceiling;
    return json;
}

bool is_run(const Json& entry) { return entry.contains("run"); }

bool is_end(const Json& entry) { return entry.contains("train_runtime"); }

Json parse_line(std::string_view line, const std::filesystem::path& path, int64_t number) {
    Json entry = parse_ordered_json(line, path.string(), number);
    require(entry.is_object(), "{}: line {} is no JSON object", path.string(), number);
    return entry;
}

// Every whole line; what stands after the last line end was cut short.
std::vector<Json> parse_lines(const std::string& text, const std::filesystem::path& path) {
    std::vector<Json> entries;
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
        entries.push_back(parse_line(std::string_view(text).substr(begin, end - begin), path,
                                     static_cast<int64_t>(entries.size()) + 1));
    return entries;
}

// A path that is not UTF-8 must not end the run: what JSON cannot hold becomes a replacement character.
std::string to_line(const Json& entry) { return entry.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n'; }

std::string to_text(const std::vector<Json>& entries) {
    std::string text;
    for (const Json& entry : entries) text += to_line(entry);
    return text;
}

std::filesystem::path keep_aside(const std::filesystem::path& path) {
    std::filesystem::path aside = path.string() + ".damaged";
    for (int n = 2; std::filesystem::exists(std::filesystem::symlink_status(aside)); ++n)
        aside = fmt::format("{}.damaged-{}", path.string(), n);
    rename_or_fail(path, aside);
    return aside;
}

// None of a damaged log: which of its lines are still true is not known.
std::vector<Json> lines_to_go_on_from(const std::filesystem::path& path,
                                      const std::function<void(const std::string&)>& warn) {
    if (!std::filesystem::exists(path)) return {};
    const std::string text = InputFile(path).read_all();  // whose bytes may be damaged too
    try {
        return parse_lines(text, path);
    } catch (const Error& damage) {
        const std::string aside = keep_aside(path).filename().string();
        if (warn)
            warn(fmt::format("{}; the log is written anew from the checkpoint, and the damaged one kept as {}",
                             damage.what(), aside));
        return {};
    }
}

LogContent split_runs(std::vector<Json> entries) {
    LogContent content;
    for (Json& entry : entries)
        if (is_run(entry)) content.runs.push_back(std::move(entry["run"]));
        else content.history.push_back(std::move(entry));
    return content;
}

}  // namespace

LogContent read_log(const std::filesystem::path& path) {
    const std::string text = read_text_file(path);
    try {
        return split_runs(parse_lines(text, path));
    } catch (const Error& damage) {
        fail("{}; mend or remove the line", damage.what());
    }
}

TrainLog TrainLog::start(const std::filesystem::path& path, const Json& run) {
    write_file(path, to_text({{{"run", run}}}));
    return TrainLog(path, {});
}

TrainLog TrainLog::resume(const std::filesystem::path& path, const Json& run, std::vector<Json> history,
                          const std::function<void(const std::string&)>& warn) {
    std::erase_if(history, is_end);
    std::vector<Json> kept;
    size_t n_found = 0;
    for (Json& entry : lines_to_go_on_from(path, warn)) {
        const bool next = n_found < history.size() && entry == history[n_found];
        if (next) ++n_found;
        if (next || is_run(entry)) kept.push_back(std::move(entry));
    }
    const bool same_run = n_found == history.size();
    if (!same_run) kept.clear();
    kept.push_back({{"run", run}});
    if (!same_run) kept.insert(kept.end(), history.begin(), history.end());
    write_file(path, to_text(kept));
    return TrainLog(path, std::move(history));
}

TrainLog::TrainLog(std::filesystem::path path, std::vector<Json> history)
    : path_(std::move(path)), history_(std::move(history)), file_(path_, std::ios::app | std::ios::binary) {
    require(file_.good(), "cannot write {}", path_.string());
}

void TrainLog::add(const TrainEntry& entry) { append(to_json(entry)); }
void TrainLog::add(const EvalEntry& entry) { append(to_json(entry)); }
void TrainLog::add(const EndEntry& entry) { append(to_json(entry)); }

std::optional<double> TrainLog::eval_loss_of(int64_t step) const {
    for (const Json& entry : history_)
        if (entry.contains("eval_loss") && entry.value("step", int64_t{0}) == step) {
            const Json& loss = entry["eval_loss"];
            return loss.is_null() ? std::numeric_limits<double>::quiet_NaN() : loss.get<double>();
        }
    return std::nullopt;
}

void TrainLog::append(Json entry) {
    file_ << to_line(entry) << std::flush;
    if (!file_.good()) fail_writing(path_);
    history_.push_back(std::move(entry));
}

}  // namespace ggq
