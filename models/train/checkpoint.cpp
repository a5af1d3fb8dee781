#include "models/train/checkpoint.h"

#include <list>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/transfer.h"
#include "models/adapter_files.h"
#include "models/lora.h"
#include "models/text/special_tokens.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

constexpr const char* kModelConfigFile = "config.json";
constexpr const char* kGenerationFile = "generation_config.json";
constexpr const char* kWriterKey = "writer";  // of the metadata of a model file
constexpr const char* kWriter = "ggq";

using NamedBuffers = std::map<std::string, Buffer*>;

// Writes buffers one by one, as `dtype` if it is given: no more than one of them is copied at a time.
void write_buffers(const fs::path& path, const Store& store, const NamedBuffers& buffers,
                   std::optional<DType> dtype = std::nullopt, const FileMetadata& more = {}) {
    FileMetadata metadata = {{"format", "pt"}};
    metadata.insert(more.begin(), more.end());
    FileTensors tensors;
    for (const auto& [name, b] : buffers) tensors[name] = {nullptr, dtype.value_or(b->type.dtype), b->type.shape};
    std::vector<std::byte> bytes;
    const auto bytes_of = [&](std::string_view name) {
        const FileTensor& t = tensors.find(name)->second;
        bytes.resize(static_cast<size_t>(t.n_bytes()));
        read_converted(store, *buffers.at(std::string(name)), t.dtype, bytes.data());
        return bytes.data();
    };
    write_safetensors(path, tensors, bytes_of, metadata);
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
    write_buffers(folder / kModelFile, engine.store(), engine.llama().weights, model.config.dtype,
                  {{kWriterKey, kWriter}});
    write_file(folder / kModelConfigFile, config_text(model.config));
    copy_tokenizer_files(model.folder, folder);
    copy_if_there(model.folder / kGenerationFile, folder / kGenerationFile);  // it may name more tokens that end a text
}

NamedBuffers saved_state(const TrainEngine& engine) {
    NamedBuffers buffers = engine.parameters().state();
    if (engine.options().weights.train_all)
        for (const ParameterRange& r : engine.parameters().ranges()) buffers[r.all.param->name] = r.all.param;
    return buffers;
}

// Bytes of a file's tensor into a buffer of the same type. Where all weights are trained, one may be most of the model.
void load_exact(Store& store, const Buffer& buffer, const SafetensorsReader& file, const std::string& name) {
    const FileTensor& t = file.at(name);
    require(t.dtype == buffer.type.dtype && t.shape == buffer.type.shape,
            "{}: {}: the checkpoint has {}{}, this run needs {}; rank, targets or optimizer differ",
            file.path().string(), name, ggq::name(t.dtype), to_string(t.shape), to_string(buffer.type));
    write_streamed(store, buffer, t.dtype,
                   [&](uint64_t at, std::span<std::byte> part) { file.read_part(name, at, part); });
}

}  // namespace

void write_trained(const fs::path& folder, TrainEngine& engine, const Model& model,
                   const std::optional<BaseRecord>& record) {
    if (engine.options().weights.train_all) write_model_of(folder, engine, model);
    else write_adapter_of(folder, engine, record);
}

std::string key_file(const TrainEngine& engine) {
    return engine.options().weights.train_all ? kModelConfigFile : kAdapterConfigFile;
}

bool is_own_model(const fs::path& file) {
    try {
        if (!is_there(file)) return false;
        const SafetensorsReader reader(file);
        const auto writer = reader.metadata().find(kWriterKey);
        return writer != reader.metadata().end() && writer->second == kWriter;
    } catch (const Error&) {  // a file that cannot be read says nothing
        return false;
    }
}

std::vector<std::string> files_of_own_results(const fs::path& folder) {
    std::vector<std::string> names = files_of_own_adapter(folder);
    if (!is_own_model(folder / kModelFile)) return names;
    names.insert(names.end(), {kModelConfigFile, kGenerationFile});
    names.insert(names.end(), std::begin(kTokenizerFiles), std::end(kTokenizerFiles));
    names.emplace_back(kModelFile);
    return names;
}

void write_checkpoint(const fs::path& folder, TrainEngine& engine, const Model& model,
                      const std::optional<BaseRecord>& record, TrainerState state) {
    write_trained(folder, engine, model, record);
    write_buffers(folder / kOptimizerFile, engine.store(), saved_state(engine));
    state.files = record_files(folder);
    write_trainer_state(folder, state);
}

void restore(const fs::path& checkpoint, TrainEngine& engine, const TrainerState& state, const StopAsked& stop) {
    Store& store = engine.store();
    const SafetensorsReader optimizer(checkpoint / kOptimizerFile);
    for (const auto& [name, buffer] : saved_state(engine)) load_exact(store, *buffer, optimizer, name);
    if (!engine.options().weights.train_all) {
        const Adapter adapter = read_adapter(checkpoint, stop);
        check_adapter(engine.llama(), adapter, checkpoint.string());
        load_adapter(store, engine.llama(), adapter);
    }
    engine.set_counters(state.counters);
}

}  // namespace ggq
