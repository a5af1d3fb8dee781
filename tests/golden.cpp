#include "tests/golden.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "ggq/program_set.h"
#include "models/batch_inputs.h"
#include "models/llama.h"
#include "tests/fixtures.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

void append_row(const int64_t* ids, const int64_t* labels, const int64_t* mask, int64_t width, MicroBatch& batch) {
    const auto first = static_cast<int32_t>(batch.ids.size());
    const int64_t n = std::count(mask, mask + width, 1);
    for (int64_t t = 0; t < n; ++t) {
        const bool predicts = t + 1 < n && labels[t + 1] != kIgnoredLabel;
        batch.ids.push_back(static_cast<int32_t>(ids[t]));
        batch.labels.push_back(predicts ? static_cast<int32_t>(labels[t + 1]) : kIgnoredLabel);
        batch.positions.push_back(static_cast<int32_t>(t));
        batch.spans.push_back(first);
        batch.spans.push_back(first + static_cast<int32_t>(t) + 1);
        batch.label_tokens += predicts;
    }
    batch.n_tokens += n;
    ++batch.n_samples;
}

}  // namespace

std::vector<fs::path> golden_folders(const std::vector<std::string>& files) {
    std::vector<fs::path> found;
    std::string kind;
    for (const std::string& file : files) kind += (kind.empty() ? "" : ", ") + file;
    if (const auto root = fixtures(); root && fs::is_directory(*root / "golden"))
        for (const auto& entry : fs::directory_iterator(*root / "golden"))
            if (std::ranges::all_of(files, [&](const std::string& f) { return fs::exists(entry.path() / f); }))
                found.push_back(entry.path());
    std::ranges::sort(found);
    if (found.empty()) skipped("golden folders with " + kind);
    return found;
}

Model open_bare(const fs::path& folder) {
    const LlamaConfig config = read_config(folder);
    return {folder, config, {}, checkpoint_source(folder, config), {}};
}

nlohmann::json read_json(const fs::path& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
}

MicroBatch lay_out(const FileTensor& ids, const FileTensor& labels, const FileTensor& mask) {
    MicroBatch batch;
    const int64_t width = ids.shape[1];
    for (int64_t row = 0; row < ids.shape[0]; ++row) {
        const auto at = [&](const FileTensor& t) { return static_cast<const int64_t*>(t.data) + row * width; };
        append_row(at(ids), at(labels), at(mask), width, batch);
    }
    return batch;
}

std::vector<Update> golden_updates(const fs::path& folder) {
    const SafetensorsFile file(folder / "batches.safetensors");
    std::vector<Update> updates;
    const auto key = [&](const char* what, size_t step, size_t k) {
        return std::string(what) + "_" + std::to_string(step) + "_" + std::to_string(k);
    };
    while (file.find(key("ids", updates.size(), 0))) {
        Update update;
        const size_t step = updates.size();
        for (size_t k = 0; file.find(key("ids", step, k)); ++k) {
            update.micro_batches.push_back(
                lay_out(file.at(key("ids", step, k)), file.at(key("labels", step, k)), file.at(key("mask", step, k))));
            const MicroBatch& batch = update.micro_batches.back();
            update.label_tokens += batch.label_tokens;
            update.n_tokens += batch.n_tokens;
            update.n_samples += batch.n_samples;
        }
        updates.push_back(std::move(update));
    }
    return updates;
}

std::vector<double> to_doubles(const FileTensor& t) {
    const auto* values = static_cast<const float*>(t.data);
    return {values, values + t.shape.n_elems()};
}

std::vector<double> to_doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

double relative_l2(const std::vector<double>& a, const std::vector<double>& b) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < b.size(); ++i) {
        error += (a.at(i) - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return a.size() == b.size() ? std::sqrt(error / norm) : INFINITY;
}

MicroBatch forward_batch(const fs::path& folder) {
    const SafetensorsFile file(folder / "forward.safetensors");
    return lay_out(file.at("input_ids"), file.at("labels"), file.at("attention_mask"));
}

// Logits of the real tokens in the order of the batch.
std::vector<double> expected_logits(const fs::path& folder) {
    const SafetensorsFile file(folder / "forward.safetensors");
    const FileTensor &logits = file.at("logits"), &mask = file.at("attention_mask");
    const std::vector<double> all = to_doubles(logits);
    const auto vocabulary = static_cast<size_t>(logits.shape[2]);
    std::vector<double> kept;
    for (int64_t t = 0; t < mask.shape.n_elems(); ++t) {
        if (static_cast<const int64_t*>(mask.data)[t] == 0) continue;
        const auto first = all.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(t) * vocabulary);
        kept.insert(kept.end(), first, first + static_cast<std::ptrdiff_t>(vocabulary));
    }
    return kept;
}

std::vector<double> logits_of(const Model& model, const MicroBatch& batch, Backend& backend,
                              const WeightChoice& choice) {
    ProgramSet set(backend);
    const auto llama = declare_llama(set.store(), model, choice);
    BatchInputs inputs(set.store(), batch.length());
    auto graph = std::make_shared<Graph>();
    const Tensor hidden = llama_hidden(*graph, *llama, inputs.bind(*graph, batch.length()), {});
    const Tensor logits = llama_logits(*graph, *llama, hidden);
    graph->mark_output(logits);
    Program& program = set.add("forward", graph, {}, [&] { inputs.write(batch); });
    set.allocate([&] { load_weights(set.store(), *llama, *model.weights); });
    inputs.write(batch);
    program.run();
    std::vector<float> values(static_cast<size_t>(logits.shape().n_elems()));
    program.read(logits, values.data());
    return to_doubles(values);
}

}  // namespace ggq::test
