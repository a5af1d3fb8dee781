#include "models/base_model.h"

#include <algorithm>

#include "ggq/device.h"
#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/transfer.h"
#include "models/initial_values.h"

namespace ggq {

namespace {

std::vector<float> initial_values(const WeightRow& row, double deviation, uint64_t seed) {
    const int64_t n = row.shape.n_elems();
    if (row.role == WeightRole::norm) return std::vector<float>(static_cast<size_t>(n), 1.0f);
    return normal_values(n, deviation, seed, row.name);
}

}  // namespace

std::map<std::string, DType> BaseModel::dtypes() const {
    std::map<std::string, DType> types;
    if (files)
        for (const WeightRow& row : weight_rows(config))
            types[row.name] = files->at(stored_name(row.name, *files)).dtype;
    return types;
}

std::string BaseModel::hash() const {
    Hash64 hash;
    hash.update(files ? hash_files(files->files()) : "from scratch");
    hash.update(function_text(config));
    return hash.hex();
}

int64_t BaseModel::n_weights() const {
    int64_t n = 0;
    for (const WeightRow& row : weight_rows(config)) n += row.shape.n_elems();
    return n;
}

int64_t BaseModel::n_tokens() const { return std::min<int64_t>(tokenizer.vocab_size(), config.vocab_size); }

std::vector<int32_t> BaseModel::stop_tokens() const {
    std::vector<int32_t> ids = config.eos_token_ids;
    if (const auto eos = tokenizer.eos_id(); eos && std::ranges::find(ids, *eos) == ids.end()) ids.push_back(*eos);
    return ids;
}

BaseModel open_base(const std::filesystem::path& folder, bool with_weights) {
    require(is_folder(folder), "{}: expected a model folder (config.json, tokenizer.json, weights)", folder.string());
    BaseModel base{folder, read_config(folder), Tokenizer::load(folder), std::nullopt, {}};
    base.warnings = base.config.warnings;
    if (base.tokenizer.vocab_size() > base.config.vocab_size)
        base.warnings.push_back(
            fmt::format("{}: the tokenizer has {} tokens, the model's vocabulary {}; a text with a token beyond it is "
                        "refused",
                        folder.string(), base.tokenizer.vocab_size(), base.config.vocab_size));
    if (with_weights) {
        base.files.emplace(folder);
        check_weights(base.config, *base.files);
    }
    return base;
}

std::unique_ptr<Backend> make_backend(const BaseOptions& options) {
    return make_backend({.device = options.device,
                         .threads = options.threads,
                         .gpu_memory = gpu_memory_bytes(options),
                         .tf32 = options.tf32});
}

void fill_weights(Store& store, const Llama& llama, const BaseModel& base, uint64_t seed) {
    const std::vector<WeightRow> rows = weight_rows(llama.config);
    if (base.files) return load_weights(store, rows, llama.weights, *base.files);
    for (const WeightRow& row : rows) {
        const std::vector<float> values = initial_values(row, base.config.initializer_range, seed);
        write_converted(store, *llama.weights.at(row.name), DType::f32, values.data());
    }
}

}  // namespace ggq
