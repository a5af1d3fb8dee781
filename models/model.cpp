#include "models/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/input_file.h"
#include "models/gguf_source.h"
#include "models/text/gguf_tokenizer.h"

namespace ggq {

std::string Model::hash(const StopAsked& stop) const {
    Hash64 hash;
    hash.update(weights->identity(stop));
    hash.update(function_text(config));
    return hash.hex();
}

int64_t Model::n_weights() const {
    int64_t n = 0;
    for (const WeightRow& row : weight_rows(config)) n += row.shape.n_elems();
    return n;
}

int64_t Model::n_tokens() const { return std::min<int64_t>(tokenizer.vocab_size(), config.vocab_size); }

std::vector<int32_t> Model::stop_tokens() const {
    std::vector<int32_t> ids = config.eos_token_ids;
    if (const auto eos = tokenizer.eos_id(); eos && std::ranges::find(ids, *eos) == ids.end()) ids.push_back(*eos);
    return ids;
}

namespace {

void check_vocabulary(const std::filesystem::path& folder, Model& model) {
    if (model.tokenizer.vocab_size() > model.config.vocab_size)
        model.warnings.push_back(
            fmt::format("{}: the tokenizer has {} tokens, the model's vocabulary {}; a text with a token beyond it is "
                        "refused",
                        folder.string(), model.tokenizer.vocab_size(), model.config.vocab_size));
}

Model open_without_weights(const std::filesystem::path& folder) {
    require(is_folder(folder), "{}: expected a model folder (config.json, tokenizer.json, weights) or a GGUF file",
            folder.string());
    Model model{folder, read_config(folder), Tokenizer::load(folder), nullptr, {}};
    model.warnings = model.config.warnings;
    check_vocabulary(folder, model);
    return model;
}

Model open_gguf(const std::filesystem::path& path) {
    const auto file = std::make_shared<const GgufFile>(path);
    LlamaConfig config = read_gguf_config(*file);
    auto weights = gguf_source(file, config);
    Model model{path, std::move(config), tokenizer_of(file->content()), std::move(weights), {}};
    check_vocabulary(path, model);
    return model;
}

// The tensors of a quantized checkpoint decide, as in transformers.
std::optional<std::string> warn_of_other_form(const Model& model) {
    const auto stored = model.weights->quantized();
    if (!stored || !model.config.quantization) return std::nullopt;
    const Bnb4bitConfig said = *model.config.quantization;
    const bool in_8bit = stored->dtype == DType::int8;
    if (said == Bnb4bitConfig{stored->dtype, !in_8bit && stored->spec.double_quant}) return std::nullopt;
    return fmt::format("{}: quantization_config says {} with {} scales, the tensors are {}; they count",
                       (model.folder / "config.json").string(), name(said.type),
                       said.double_quant ? "double" : "single", describe(*stored));
}

}  // namespace

Model open_model(const std::filesystem::path& path) {
    if (is_gguf(path)) return open_gguf(path);
    Model model = open_without_weights(path);
    model.weights = checkpoint_source(path, model.config);
    if (auto line = warn_of_other_form(model)) model.warnings.push_back(*line);
    return model;
}

Model open_untrained(const std::filesystem::path& folder, uint64_t seed) {
    Model model = open_without_weights(folder);
    require(
        !model.config.quantization,
        "{}: quantization_config: a new model is not quantized; take the key out, or the config.json of the original",
        (folder / "config.json").string());
    model.weights = initial_source(model.config, seed);
    return model;
}

}  // namespace ggq
