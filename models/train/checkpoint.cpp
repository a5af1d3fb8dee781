#include "models/train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <list>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/json_file.h"
#include "ggq/transfer.h"
#include "models/adapter_files.h"
#include "models/lora.h"
#include "models/train/options.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "trainer_state.json";
constexpr const char* kGenerationFile = "generation_config.json";
constexpr std::string_view kFolderPrefix = "checkpoint-";

using NamedBuffers = std::map<std::string, Buffer*>;

// Writes buffers one by one, as `dtype` if it is given: no more than one of them is copied at a time.
void write_buffers(const fs::path& path, const Store& store, const NamedBuffers& buffers,
                   std::optional<DType> dtype = std::nullopt) {
    FileTensors tensors;
    for (const auto& [name, b] : buffers) tensors[name] = {nullptr, dtype.value_or(b->type.dtype), b->type.shape};
    std::vector<std::byte> bytes;
    write_safetensors(path, tensors, [&](std::string_view name) {
        const FileTensor& t = tensors.find(name)->second;
        bytes.resize(static_cast<size_t>(t.n_bytes()));
        read_converted(store, *buffers.at(std::string(name)), t.dtype, bytes.data());
        return bytes.data();
    });
}

void write_adapter_of(const fs::path& folder, TrainEngine& engine, const std::optional<BaseRecord>& record) {
    std::list<std::vector<std::byte>> copies;
    const auto copy = [&](const Buffer& b) {
        copies.emplace_back(static_cast<size_t>(b.bytes()));
        engine.store().read(b, copies.back().data());
        return FileTensor{copies.back().data(), b.type.dtype, b.type.shape};
    };
    LoraModules modules;
    for (const Linear* l : engine.llama().adapted) modules[l->module] = {copy(*l->a), copy(*l->b)};
    write_adapter(folder, *engine.options().weights.lora, modules, record);
}

void write_model_of(const fs::path& folder, TrainEngine& engine, const Model& model) {
    write_buffers(folder / "model.safetensors", engine.store(), engine.llama().weights, model.config.dtype);
    write_file(folder / "config.json", config_text(model.config));
    copy_tokenizer_files(model.folder, folder);
    copy_if_there(model.folder / kGenerationFile, folder / kGenerationFile);  // it may name more tokens that end a text
}

NamedBuffers saved_state(const TrainEngine& engine) {
    NamedBuffers buffers = engine.parameters().state();
    if (engine.options().weights.train_all)
        for (const ParameterRange& r : engine.parameters().ranges()) buffers[r.param->name] = r.param;
    return buffers;
}

ordered_json state_json(const TrainerState& s, const TrainEngine& engine) {
    ordered_json json;
    json["best_global_step"] = s.best_step > 0 ? ordered_json(s.best_step) : ordered_json();
    json["best_metric"] = s.best_step > 0 ? ordered_json(s.best_loss) : ordered_json();
    json["best_model_checkpoint"] = nullptr;
    json["epoch"] = s.epoch;
    json["eval_steps"] = s.identity.options.value("eval_every", 0);
    json["global_step"] = s.counters.updates;
    json["is_hyper_param_search"] = false;
    json["is_local_process_zero"] = true;
    json["is_world_process_zero"] = true;
    json["log_history"] = s.log_history;
    json["logging_steps"] = s.identity.options.value("log_every", 0);
    json["max_steps"] = s.total_steps;
    json["num_input_tokens_seen"] = s.n_tokens;
    json["num_train_epochs"] = s.identity.options.value("epochs", 1.0);
    json["save_steps"] = s.identity.options.value("save_every", 0);
    json["stateful_callbacks"] = ordered_json::object();
    json["total_flos"] = 0.0;
    json["train_batch_size"] = s.identity.options.value("batch_size", 0);
    json["trial_name"] = nullptr;
    json["trial_params"] = nullptr;
    json["ggq"] = {{"micro_batches", s.counters.micro_batches},
                   {"loss_scale", s.counters.loss_scale},
                   {"updates_at_scale", s.counters.updates_at_scale},
                   {"seed", engine.options().seed},
                   {"evaluations_without_gain", s.evaluations_without_gain},
                   {"window_loss", s.window_loss},
                   {"window_updates", s.window_updates},
                   {"data_hash", s.identity.data_hash},
                   {"base_hash", s.identity.base_hash},
                   {"options", s.identity.options}};
    return json;
}

// Bytes of a file's tensor into a buffer of the same type.
void load_exact(Store& store, const Buffer& buffer, const FileTensor& t, const std::string& name) {
    require(t.dtype == buffer.type.dtype && t.shape == buffer.type.shape,
            "{}: the checkpoint has {}{}, this run needs {}; rank, targets or optimizer differ", name,
            ggq::name(t.dtype), to_string(t.shape), to_string(buffer.type));
    store.write(buffer, t.data);
}

}  // namespace

void write_trained(const fs::path& folder, TrainEngine& engine, const Model& model,
                   const std::optional<BaseRecord>& record) {
    if (engine.options().weights.train_all) write_model_of(folder, engine, model);
    else write_adapter_of(folder, engine, record);
}

void write_checkpoint(const fs::path& output, TrainEngine& engine, const Model& model,
                      const std::optional<BaseRecord>& record, const TrainerState& state) {
    AtomicFolder folder(output / (std::string(kFolderPrefix) + std::to_string(state.counters.updates)),
                        IfFolderExists::replace);
    write_trained(folder.staging(), engine, model, record);
    write_buffers(folder.staging() / kOptimizerFile, engine.store(), saved_state(engine));
    write_file(folder.staging() / kStateFile, state_json(state, engine).dump(2) + "\n");
    folder.commit();
}

int64_t checkpoint_number(const fs::path& folder) {
    const std::string name = folder.filename().string();
    if (!name.starts_with(kFolderPrefix)) return -1;
    int64_t number = -1;
    const char* end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kFolderPrefix.size(), end, number);
    return error == std::errc() && rest == end ? number : -1;
}

std::vector<fs::path> checkpoints(const fs::path& output) {
    std::vector<fs::path> found;
    if (!fs::is_directory(output)) return found;
    for (const auto& entry : fs::directory_iterator(output))
        if (entry.is_directory() && checkpoint_number(entry.path()) >= 0) found.push_back(entry.path());
    std::ranges::sort(found, {}, checkpoint_number);
    return found;
}

void remove_old_checkpoints(const fs::path& output, int64_t keep) {
    const std::vector<fs::path> all = checkpoints(output);
    for (size_t i = 0; i + static_cast<size_t>(keep) < all.size(); ++i) fs::remove_all(all[i]);
}

fs::path newest_checkpoint(const fs::path& output) {
    const std::vector<fs::path> all = checkpoints(output);
    require(!all.empty(), "--resume: {} holds no checkpoint-N folder; start without --resume", output.string());
    return all.back();
}

TrainerState read_trainer_state(const fs::path& checkpoint) {
    const fs::path path = checkpoint / kStateFile;
    const ordered_json json = parse_ordered_json(read_side_file(path), path.string());
    try {
        const ordered_json& own = json.at("ggq");
        TrainerState s;
        s.identity = {own.at("options"), own.at("data_hash"), own.at("base_hash")};
        s.counters.updates = json.at("global_step");
        s.counters.micro_batches = own.at("micro_batches");
        s.counters.loss_scale = own.at("loss_scale");
        s.counters.updates_at_scale = own.at("updates_at_scale");
        s.epoch = json.at("epoch");
        s.total_steps = json.at("max_steps");
        s.n_tokens = json.at("num_input_tokens_seen");
        if (!json.at("best_global_step").is_null()) {
            s.best_step = json.at("best_global_step");
            s.best_loss = json.at("best_metric");
        }
        s.evaluations_without_gain = own.at("evaluations_without_gain");
        s.window_loss = own.at("window_loss");
        s.window_updates = own.at("window_updates");
        s.log_history = json.at("log_history").get<std::vector<ordered_json>>();
        return s;
    } catch (const nlohmann::json::exception& e) {
        fail("{}: not the state of a ggq run ({}); only its own checkpoints can be resumed", path.string(), e.what());
    }
}

std::vector<std::string> check_identity(const RunIdentity& before, const RunIdentity& now, bool accept) {
    std::vector<std::string> changes = changed_options(before.options, now.options);
    if (before.data_hash != now.data_hash)
        changes.push_back("data: hash was " + before.data_hash + ", is " + now.data_hash);
    if (before.base_hash != now.base_hash)
        changes.push_back("base model: hash was " + before.base_hash + ", is " + now.base_hash);
    std::string list;
    for (const std::string& change : changes) list += (list.empty() ? "" : "; ") + change;
    require(changes.empty() || accept,
            "--resume: this run is not the one that was saved ({}); restore what it was{}, or say "
            "--accept-changes",
            list,
            list.find("compute_dtype: ") == std::string::npos ? "" : " (a GPU takes bf16 by itself, the CPU f32)");
    return changes;
}

void restore(const fs::path& checkpoint, TrainEngine& engine, const TrainerState& state) {
    Store& store = engine.store();
    const SafetensorsReader optimizer(checkpoint / kOptimizerFile);
    std::vector<std::byte> bytes;  // of one tensor at a time
    for (const auto& [name, buffer] : saved_state(engine))
        load_exact(store, *buffer, optimizer.read(name, bytes), name);
    if (!engine.options().weights.train_all) {
        const Adapter adapter = read_adapter(checkpoint);
        check_adapter(engine.llama(), adapter, checkpoint.string());
        load_adapter(store, engine.llama(), adapter);
    }
    engine.set_counters(state.counters);
}

}  // namespace ggq
