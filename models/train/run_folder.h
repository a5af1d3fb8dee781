// The output folder of a training run: whose checkpoints are in it, which one is gone on from, and what is written
// when.
//
//   OUTPUT/checkpoint-N/    models/train/checkpoint.h; written aside, synced, renamed
//   OUTPUT/log.jsonl        models/train/log.h
//   OUTPUT/...              the result, at the end
//
// One run at a time has the folder; a second one is refused. What others wrote stays: a checkpoint is ours by its
// trainer_state.json. Every process that writes checkpoints here counts one generation up, so that the newest
// checkpoint is the last one of the highest generation, whatever numbers older runs left behind and whenever a process
// was killed. Those that a run replaces go when it has a checkpoint of its own; when its result comes, what an older
// result of ours left goes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ggq/io/output_folder.h"
#include "models/train/log.h"
#include "models/train/options.h"
#include "models/train/trainer_state.h"

namespace ggq {

struct FoundCheckpoint {
    std::filesystem::path path;
    int64_t number = 0;
    int64_t generation = 0;
    std::string fault;        // why it cannot be gone on from; empty: it is whole
    bool surely_ours = true;  // else its state cannot be read, and nothing else says who wrote it: it is left alone
};

// Every checkpoint of ggq in a folder, the newest last.
std::vector<FoundCheckpoint> find_checkpoints(const std::filesystem::path& output);

class RunFolder {
public:
    using Say = std::function<void(const std::string&)>;  // a line to heed
    using Write = std::function<void(const std::filesystem::path& folder)>;

    // By output, overwrite, resume and keep_last. Takes the folder, removes what killed runs left half written,
    // and finds the checkpoint to go on from, whose files are checked against their hashes.
    RunFolder(const TrainOptions& options, Say warn, const StopAsked& stop = {});

    // Of the checkpoint to go on from; nothing where the run begins anew.
    const std::optional<TrainerState>& saved_state() const { return saved_; }
    const std::filesystem::path& resumed_from() const { return resumed_from_; }

    // Refuses other people's folders of the names that checkpoints up to this step will have.
    void require_room(int64_t total_steps) const;

    TrainLog open_log(const nlohmann::ordered_json& run) const;

    // `write` fills the folder and ends with `state`, whose generation is set before. Old checkpoints go afterwards.
    void save_checkpoint(TrainerState& state, const Write& write);

    // Writes a checkpoint aside and removes it again: that there is room for one is known before the first update.
    void rehearse_checkpoint(const TrainerState& state, const Write& write) const;

    // The files of the result; `key_file` is the one without which nobody loads them.
    void save_result(const std::string& key_file, const Write& write) const;

    // "; out/checkpoint-40 is whole, and `resume` goes on from it", to be added to an error; nothing if there is none.
    std::string where_to_go_on() const;

private:
    void remove_leftovers() const;
    void choose_checkpoint(const std::string& wish);
    void open_checkpoint(const StopAsked& stop);
    void split_found();
    void note_newer_and_broken(const FoundCheckpoint& chosen) const;
    void remove_replaced();
    void keep_last_only();
    void remove(const std::filesystem::path& checkpoint) const;
    std::vector<std::string> older_results() const;
    void note_model_of_others() const;

    std::filesystem::path output_, base_;
    bool overwrite_;
    bool from_elsewhere_;  // the checkpoint to go on from lies in another folder: what is in this one is another run's
    std::optional<int64_t> keep_last_;
    Say warn_;
    OutputFolder folder_;
    int64_t generation_ = 1;
    std::filesystem::path resumed_from_;
    std::optional<TrainerState> saved_;
    std::vector<FoundCheckpoint> own_;             // of the line that this run continues, the newest last
    std::vector<std::filesystem::path> replaced_;  // of runs that this one takes the place of
};

}  // namespace ggq
