#include "models/train/trainer_state.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/option_checks.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::string_view kFolderPrefix = "checkpoint-";
constexpr int64_t kMostTokens = int64_t{1} << 53;  // what a JSON number holds everywhere

// The values of an object, each checked; the errors name file, key and value.
class Values {
public:
    Values(const ordered_json& object, std::string where) : object_(object), where_(std::move(where)) {
        require(object_.is_object(), "{}: not the state of a ggq run; only its own checkpoints can be resumed", where_);
    }

    bool has(const char* key) const { return object_.contains(key); }

    const ordered_json& at(const char* key) const {
        const auto found = object_.find(key);
        require(found != object_.end(),
                "{}: not the state of a ggq run ({} is missing); only its own checkpoints can be resumed", where_, key);
        return *found;
    }

    int64_t count(const char* key, int64_t least, int64_t most) const {
        const ordered_json& value = at(key);
        // An unsigned number beyond 63 bits would turn negative.
        const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(most)
                                                     : value.is_number_integer() && value.get<int64_t>() <= most;
        if (!fits || value.get<int64_t>() < least)
            refuse(key, fmt::format("a whole number from {} to {}", least, most));
        return value.get<int64_t>();
    }

    int64_t count_or(const char* key, int64_t fallback, int64_t most) const {
        return has(key) ? count(key, 0, most) : fallback;
    }

    // What is not finite stands in JSON as null.
    double number(const char* key) const {
        const ordered_json& value = at(key);
        if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
        if (!value.is_number() || !std::isfinite(value.get<double>())) refuse(key, "a number");
        return value.get<double>();
    }

    std::string text(const char* key) const {
        if (!at(key).is_string()) refuse(key, "a text");
        return at(key).get<std::string>();
    }

    const ordered_json& object(const char* key) const {
        if (!at(key).is_object()) refuse(key, "an object");
        return at(key);
    }

    [[noreturn]] void refuse(const char* key, const std::string& expected) const {
        fail("{}: {} must be {}, got {}; the file was changed or damaged", where_, key, expected, shown_json(at(key)));
    }

private:
    const ordered_json& object_;
    std::string where_;
};

std::vector<ordered_json> read_history(const Values& values, int64_t updates) {
    const auto refuse = [&] { values.refuse("log_history", fmt::format("entries with a step up to {}", updates)); };
    if (!values.at("log_history").is_array()) refuse();
    std::vector<ordered_json> entries = values.at("log_history");
    for (const ordered_json& entry : entries) {
        const bool has_step = entry.is_object() && entry.contains("step") && entry["step"].is_number_unsigned();
        if (!has_step || entry["step"].get<uint64_t>() > static_cast<uint64_t>(updates)) refuse();
        const auto loss = entry.find("eval_loss");  // null: it was not finite
        if (loss != entry.end() && !loss->is_number() && !loss->is_null())
            values.refuse("log_history", "entries whose eval_loss is a number");
    }
    return entries;
}

void read_best(const Values& values, TrainerState& s) {
    if (values.at("best_global_step").is_null()) return;
    s.best_step = values.count("best_global_step", 1, s.counters.updates);
    s.best_loss = values.number("best_metric");
}

void read_counters(const Values& own, EngineCounters& c) {
    c.micro_batches = own.count("micro_batches", c.updates, kMostTokens);
    c.loss_scale = own.number("loss_scale");
    int exponent = 0;
    const bool in_range = c.loss_scale >= kLeastLossScale && c.loss_scale <= kMostLossScale;
    if (!in_range || std::frexp(c.loss_scale, &exponent) != 0.5)
        own.refuse("loss_scale", fmt::format("a power of two from {:g} to {:g}", kLeastLossScale, kMostLossScale));
    c.updates_at_scale = own.count("updates_at_scale", 0, kMostOfAnything);
}

// Two readings of one number: of the folder's name, and of the file in it.
void check_number(const Values& values, const fs::path& checkpoint) {
    const int64_t number = checkpoint_number(checkpoint);
    if (number < 0 || number == values.count("global_step", 0, kMostOfAnything)) return;
    values.refuse("global_step", fmt::format("{}, by the name of its folder", number));
}

TrainerState state_of(const ordered_json& json, const fs::path& path) {
    const Values values(json, path.string()), own(values.at("ggq"), path.string());
    TrainerState s;
    s.identity = {std::make_shared<const ordered_json>(own.object("options")), own.text("data_hash"),
                  own.text("base_hash")};
    s.counters.updates = values.count("global_step", 0, kMostOfAnything);
    check_number(values, path.parent_path());
    read_counters(own, s.counters);
    s.epoch = values.number("epoch");
    s.total_steps = values.count("max_steps", 1, kMostOfAnything);
    s.n_tokens = values.count("num_input_tokens_seen", 0, kMostTokens);
    read_best(values, s);
    s.evaluations_without_gain = own.count("evaluations_without_gain", 0, s.counters.updates);
    s.window_loss = own.number("window_loss");
    s.window_updates = own.count("window_updates", 0, s.counters.updates);
    s.log_history = read_history(values, s.counters.updates);
    s.generation = own.count_or("generation", 0, kMostGeneration);
    if (own.has("files")) s.files = file_record(own.at("files"), path);
    return s;
}

ordered_json own_json(const TrainerState& s) {
    return {{"micro_batches", s.counters.micro_batches},
            {"loss_scale", s.counters.loss_scale},
            {"updates_at_scale", s.counters.updates_at_scale},
            {"seed", s.identity.options->value("seed", uint64_t{0})},
            {"evaluations_without_gain", s.evaluations_without_gain},
            {"window_loss", s.window_loss},
            {"window_updates", s.window_updates},
            {"generation", s.generation},
            {"data_hash", s.identity.data_hash},
            {"base_hash", s.identity.base_hash},
            {"options", *s.identity.options},
            {"files", to_json(s.files)}};
}

ordered_json state_json(const TrainerState& s) {
    ordered_json json;
    json["best_global_step"] = s.best_step > 0 ? ordered_json(s.best_step) : ordered_json();
    json["best_metric"] = s.best_step > 0 ? ordered_json(s.best_loss) : ordered_json();
    json["best_model_checkpoint"] = nullptr;
    json["epoch"] = s.epoch;
    json["eval_steps"] = s.identity.options->value("eval_every", 0);
    json["global_step"] = s.counters.updates;
    json["is_hyper_param_search"] = false;
    json["is_local_process_zero"] = true;
    json["is_world_process_zero"] = true;
    json["log_history"] = s.log_history;
    json["logging_steps"] = s.identity.options->value("log_every", 0);
    json["max_steps"] = s.total_steps;
    json["num_input_tokens_seen"] = s.n_tokens;
    json["num_train_epochs"] = s.identity.options->value("epochs", 1.0);
    json["save_steps"] = s.identity.options->value("save_every", 0);
    json["stateful_callbacks"] = ordered_json::object();
    json["total_flos"] = 0.0;
    json["train_batch_size"] = s.identity.options->value("batch_size", 0);
    json["trial_name"] = nullptr;
    json["trial_params"] = nullptr;
    json["ggq"] = own_json(s);
    return json;
}

}  // namespace

void write_trainer_state(const fs::path& checkpoint, const TrainerState& state) {
    // A path among the options that is not UTF-8 must not end the run.
    write_file(checkpoint / kStateFile,
               state_json(state).dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

TrainerState read_trainer_state(const fs::path& checkpoint) {
    const fs::path path = checkpoint / kStateFile;
    return state_of(parse_ordered_json(read_side_file(path), path.string()), path);
}

int64_t checkpoint_number(const fs::path& folder) {
    const std::string name = folder.filename().string();
    if (!name.starts_with(kFolderPrefix)) return -1;
    int64_t number = -1;
    const char *begin = name.data() + kFolderPrefix.size(), *end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(begin, end, number);
    return error == std::errc() && rest == end ? number : -1;
}

fs::path checkpoint_path(const fs::path& output, int64_t number) {
    return output / (std::string(kFolderPrefix) + std::to_string(number));
}

std::vector<std::string> check_identity(const RunIdentity& before, const RunIdentity& now, bool accept) {
    std::vector<std::string> changes = changed_options(*before.options, *now.options);
    if (before.data_hash != now.data_hash)
        changes.push_back("data: hash was " + shown(before.data_hash) + ", is " + now.data_hash);
    if (before.base_hash != now.base_hash)
        changes.push_back("base model: hash was " + shown(before.base_hash) + ", is " + now.base_hash);
    std::string list;
    for (const std::string& change : changes) list += (list.empty() ? "" : "; ") + change;
    require(changes.empty() || accept,
            "`resume`: this run is not the one that was saved ({}); restore what it was{}, or say "
            "`accept_changes`",
            list,
            list.find("compute_dtype: ") == std::string::npos ? "" : " (a GPU takes bf16 by itself, the CPU f32)");
    return changes;
}

// An optimizer's name without where its state lies, which changes no bit.
static std::string unpaged(const nlohmann::ordered_json& optim) {
    constexpr std::string_view kPaged = "paged_";
    std::string name = optim.is_string() ? optim.get<std::string>() : optim.dump();
    if (name == "paged_adamw_32bit") return "adamw";
    return name.starts_with(kPaged) ? name.substr(kPaged.size()) : name;
}

std::vector<std::string> changed_options(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now) {
    static const std::set<std::string> kMayChange = {
        "model",   "data",           "val_data",     "output",     "overwrite",   "device",
        "threads", "gpu_memory",     "log_every",    "eval_every", "save_every",  "keep_last",
        "resume",  "accept_changes", "show_samples", "plan",       "print_graph", "profile",
        "quiet",   "recompute",      "pager",        "gpu_table",
    };
    std::vector<std::string> changes;
    for (const auto& [key, value] : now.items()) {
        const auto old = before.find(key);
        if (kMayChange.contains(key) || (old != before.end() && *old == value)) continue;
        if (key == "optim" && old != before.end() && unpaged(*old) == unpaged(value)) continue;
        changes.push_back(fmt::format("{}: was {}, is {}", key, old == before.end() ? "absent" : shown_json(*old),
                                      shown_json(value)));
    }
    return changes;
}

}  // namespace ggq
