#include "models/train/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_folder.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/write_aside.h"
#include "models/adapter_files.h"
#include "models/base_record.h"
#include "models/option_checks.h"
#include "models/train/checkpoint.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kLogFile = "log.jsonl";
constexpr const char* kPlotFile = "loss.png";
constexpr int64_t kUnknown = -1;  // generation

// Nothing for what no run writes. A state of before there were generations is of the first.
std::optional<int64_t> generation_in(const ordered_json& own) {
    const auto found = own.find("generation");
    if (found == own.end()) return 0;
    if (!found->is_number_unsigned() || found->get<uint64_t>() > uint64_t{kMostGeneration}) return std::nullopt;
    return found->get<int64_t>();
}

// Nothing if the folder was not written by ggq.
std::optional<FoundCheckpoint> look_at(const fs::path& path, int64_t number) {
    try {
        const ordered_json state = parse_ordered_json(read_side_file(path / kStateFile), kStateFile);
        const auto own = state.find("ggq");
        if (own == state.end() || !own->is_object()) return std::nullopt;
        const auto generation = generation_in(*own);
        FoundCheckpoint found{path, number, generation.value_or(kUnknown), ""};
        if (!generation) found.fault = fmt::format("{}: generation is no number of a run", kStateFile);
        if (!fs::exists(path / kOptimizerFile)) found.fault = std::string(kOptimizerFile) + " is missing";
        const auto files = own->find("files");
        const FileRecord record = files == own->end() ? FileRecord{} : file_record(*files, path / kStateFile);
        if (const auto reason = incomplete_file(path, record)) found.fault = *reason;
        return found;
    } catch (const std::runtime_error& error) {
        std::error_code ignored;
        if (!fs::exists(path / kOptimizerFile, ignored)) return std::nullopt;
        const bool ours = fs::exists(path / kBaseRecordFile, ignored);  // a name that no other program has
        return FoundCheckpoint{path, number, kUnknown, error.what(), ours};
    }
}

// Also of one that stands under another name.
bool is_whole(const fs::path& path, int64_t number) {
    try {
        const TrainerState state = read_trainer_state(path);
        check_files(path, state.files, kStateFile);
        return state.counters.updates == number && fs::exists(path / kOptimizerFile);
    } catch (const std::runtime_error&) {
        return false;
    }
}

bool is_empty_folder(const fs::path& path) {
    std::error_code error;
    return fs::is_directory(path, error) && fs::is_empty(path, error) && !error;
}

bool is_newer(const FoundCheckpoint& one, const FoundCheckpoint& other) {
    return std::pair(one.generation, one.number) > std::pair(other.generation, other.number);
}

std::vector<fs::path> entries_of(const fs::path& folder) {
    std::error_code error;
    std::vector<fs::path> entries;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
        entries.push_back(at->path());
    if (error) fail("cannot read the folder {}: {}", folder.string(), error.message());
    return entries;
}

// "out/" and "out" are the same.
fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

bool lies_elsewhere(const std::optional<std::string>& checkpoint, const fs::path& output) {
    if (!checkpoint || checkpoint->empty()) return false;
    std::error_code error;
    const fs::path real = fs::weakly_canonical(without_slash(*checkpoint), error);
    return error || !fs::equivalent(real.parent_path(), output, error);
}

// What a killed process may leave, by the name that it was to have.
AsideName left_behind(const std::string& name) {
    const std::string stem = name.substr(0, name.find(".tmp-"));
    const bool ours =
        checkpoint_number(stem) >= 0 || stem == kLogFile || stem == kPlotFile || stem == AtomicFolder::kMergedName;
    return ours ? aside_name(name, stem) : AsideName::none;
}

}  // namespace

std::vector<FoundCheckpoint> find_checkpoints(const fs::path& output) {
    std::vector<FoundCheckpoint> found;
    for (const fs::path& path : entries_of(output)) {
        std::error_code ignored;
        const int64_t number = checkpoint_number(path);
        if (number < 0 || !fs::is_directory(path, ignored)) continue;
        if (auto checkpoint = look_at(path, number)) found.push_back(std::move(*checkpoint));
    }
    std::ranges::sort(found, [](const FoundCheckpoint& a, const FoundCheckpoint& b) { return is_newer(b, a); });
    return found;
}

RunFolder::RunFolder(const TrainOptions& options, Say warn, const StopAsked& stop)
    : output_(options.output),
      base_(options.base.model),
      overwrite_(options.overwrite),
      from_elsewhere_(lies_elsewhere(options.resume, output_)),
      keep_last_(options.keep_last),
      warn_(std::move(warn)),
      folder_(output_, options.overwrite || (options.resume && !from_elsewhere_)) {
    remove_leftovers();
    own_ = find_checkpoints(output_);
    for (const FoundCheckpoint& c : own_) generation_ = std::clamp(c.generation + 1, generation_, kMostGeneration);
    if (options.resume) {
        choose_checkpoint(*options.resume);
        open_checkpoint(stop);
    }
    split_found();
}

// A new run continues none of them; one that is resumed here leaves those behind that are ahead of it.
void RunFolder::split_found() {
    std::erase_if(own_, [](const FoundCheckpoint& c) { return !c.surely_ours; });
    const auto gone = [&](const FoundCheckpoint& c) {
        return !saved_ || from_elsewhere_ || c.number > saved_->counters.updates;
    };
    for (const FoundCheckpoint& c : own_)
        if (gone(c)) replaced_.push_back(c.path);
    std::erase_if(own_, gone);
}

// A checkpoint that was whole but for its name takes its place: the process died between two renames.
void RunFolder::remove_leftovers() const {
    for (const fs::path& path : entries_of(output_)) {
        const std::string name = path.filename().string();
        const AsideName kind = left_behind(name);
        if (kind == AsideName::none) continue;
        const fs::path target = output_ / name.substr(0, name.find(".tmp-"));
        const int64_t number = checkpoint_number(target);
        std::error_code error;
        const bool lacks_name = kind == AsideName::written && !fs::exists(fs::symlink_status(target, error));
        if (lacks_name && number >= 0 && is_whole(path, number)) {
            rename_or_fail(path, target);
            continue;
        }
        fs::remove_all(path, error);
        if (error) warn_(fmt::format("cannot remove {}, which a killed run left: {}", path.string(), error.message()));
    }
}

void RunFolder::choose_checkpoint(const std::string& wish) {
    if (!wish.empty()) {
        resumed_from_ = without_slash(wish);
        return;
    }
    const auto whole = std::ranges::find_if(own_.rbegin(), own_.rend(), [](const auto& c) { return c.fault.empty(); });
    if (whole == own_.rend() && own_.empty())
        fail("`resume`: {} holds no checkpoint-N folder of a run; start without `resume`{}", output_.string(),
             is_empty_folder(output_) ? "" : ", with `overwrite`");
    if (whole == own_.rend())
        fail("`resume`: {} holds no whole checkpoint ({}: {}); start again with `overwrite` instead of `resume`",
             output_.string(), own_.back().path.filename().string(), own_.back().fault);
    resumed_from_ = whole->path;
    note_newer_and_broken(*whole);
}

void RunFolder::open_checkpoint(const StopAsked& stop) {
    try {
        saved_ = read_trainer_state(resumed_from_);
        check_files(resumed_from_, saved_->files, kStateFile, stop);
    } catch (const Error& error) {
        const auto other = std::ranges::find_if(own_.rbegin(), own_.rend(), [&](const FoundCheckpoint& c) {
            return c.fault.empty() && c.path != resumed_from_ && !from_elsewhere_;
        });
        fail("{}{}", error.what(),
             other == own_.rend() ? "" : fmt::format("; another checkpoint: `resume` {}", other->path.string()));
    }
    if (saved_->files.empty())
        warn_(fmt::format("{} has no hashes of its files, so they are not checked",
                          (resumed_from_ / kStateFile).string()));
}

void RunFolder::note_newer_and_broken(const FoundCheckpoint& chosen) const {
    for (const FoundCheckpoint& c : own_)
        if (!c.fault.empty() && (c.generation == kUnknown ? c.number > chosen.number : is_newer(c, chosen)))
            warn_(fmt::format("{} is not whole ({}) and left out", c.path.string(), c.fault));
}

void RunFolder::require_room(int64_t total_steps) const {
    const int64_t done = saved_ ? saved_->counters.updates : 0;
    for (const fs::path& path : entries_of(output_)) {
        const int64_t number = checkpoint_number(path);
        const bool in_the_way =
            number > done && number <= total_steps && !is_empty_folder(path) && !std::ranges::count(replaced_, path);
        require(!in_the_way,
                "{} was not written by ggq, or is not all there, and this run saves under that name; move it or choose "
                "another folder",
                path.string());
    }
}

TrainLog RunFolder::open_log(const ordered_json& run) const {
    const fs::path path = output_ / kLogFile;
    return saved_ ? TrainLog::resume(path, run, saved_->log_history, warn_) : TrainLog::start(path, run);
}

void RunFolder::save_checkpoint(TrainerState& state, const Write& write) {
    const int64_t number = state.counters.updates;
    const fs::path path = checkpoint_path(output_, number);
    state.generation = generation_;
    AtomicFolder folder(path, IfFolderExists::replace);
    write(folder.staging());
    folder.commit();
    std::erase(replaced_, path);
    std::erase_if(own_, [&](const FoundCheckpoint& c) { return c.number == number; });
    own_.push_back({path, number, generation_, ""});
    remove_replaced();
    keep_last_only();
}

void RunFolder::rehearse_checkpoint(const TrainerState& state, const Write& write) const {
    const AtomicFolder folder(checkpoint_path(output_, state.counters.updates), IfFolderExists::replace);
    write(folder.staging());
}

// Without either option nobody asked for them to go: they stay until a checkpoint of their name comes.
void RunFolder::remove_replaced() {
    if (!overwrite_ && !keep_last_) return;
    for (const fs::path& path : std::exchange(replaced_, {})) remove(path);
}

void RunFolder::keep_last_only() {
    while (keep_last_ && std::ssize(own_) > *keep_last_) {
        remove(own_.front().path);
        own_.erase(own_.begin());
    }
}

// What cannot be removed is no reason to end a run.
void RunFolder::remove(const fs::path& checkpoint) const {
    try {
        remove_folder(checkpoint);
    } catch (const Error& error) {
        warn_(fmt::format("{}: the old checkpoint stays ({})", checkpoint.string(), error.what()));
    }
}

void RunFolder::save_result(const std::string& key_file, const Write& write) const {
    AtomicFolder folder(output_, IfFolderExists::merge, key_file);
    write(folder.staging());
    folder.supersede(older_results());
    if (key_file == kAdapterConfigFile) note_model_of_others();
    folder.commit();
}

// What this run reads its base from is no older result, even where it lies in the output folder.
std::vector<std::string> RunFolder::older_results() const {
    std::vector<std::string> names = files_of_own_results(output_);
    std::erase_if(names, [&](const std::string& name) {
        std::error_code ignored;
        return fs::equivalent(output_ / name, base_ / name, ignored);
    });
    return names;
}

void RunFolder::note_model_of_others() const {
    const fs::path model = output_ / kModelFile;
    std::error_code ignored;
    if (!fs::exists(model, ignored) || fs::equivalent(model, base_ / kModelFile, ignored) || is_own_model(model))
        return;
    warn_(
        fmt::format("{} stays beside the adapter, as it does not say that ggq wrote it; remove it if it is an older "
                    "result",
                    model.string()));
}

std::string RunFolder::where_to_go_on() const {
    const bool saved_here = !own_.empty() && own_.back().generation == generation_;
    if (saved_here) return fmt::format("; {} is whole, and `resume` goes on from it", own_.back().path.string());
    if (!saved_) return "";
    // Without a path another one might be found, or none.
    return fmt::format("; {0} is whole, and `resume` {0} goes on from it", resumed_from_.string());
}

}  // namespace ggq
