#include "tests/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "ggq/io/safetensors.h"
#include "models/train/run_folder.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"

namespace ggq::test {

namespace fs = std::filesystem;

fs::path small_model() { return source_dir() / "tests/fixtures/golden/real-model/model"; }

std::string sample_line(int n) {
    constexpr std::array names = {"Tom", "Lily", "Ben", "Sue", "Max", "Anna", "Sam", "Mia"};
    const char *one = names[static_cast<size_t>(n % 8)], *other = names[static_cast<size_t>((n * 3 + 1) % 8)];
    const std::string more = n % 5 == 0 ? fmt::format(" And {} likes {}.", one, other) : "";
    return fmt::format("{{\"prompt\": \"{}. Who likes {}? \", \"completion\": \"{} likes {}.{}\"}}\n", n, one, other,
                       one, more);
}

std::string sample_lines(int count, int first) {
    std::string lines;
    for (int n = first; n < first + count; ++n) lines += sample_line(n);
    return lines;
}

void write_text(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
}

void change_config(const fs::path& model, const char* key, const nlohmann::json& value) {
    nlohmann::json config = read_json(model / "config.json");
    config[key] = value;
    write_text(model / "config.json", config.dump());
}

Workplace::Workplace() { write_text(data, sample_lines(60)); }

void rename_tensors(const fs::path& file, const std::function<std::string(const std::string&)>& named) {
    const SafetensorsFile old(file);
    FileTensors tensors;
    for (const auto& [name, tensor] : old.tensors())
        if (const std::string now = named(name); !now.empty()) tensors[now] = tensor;
    write_safetensors(file, tensors);
}

fs::path Workplace::tied_model() const {
    const fs::path tied = copy_of_model("tied");
    change_config(tied, "tie_word_embeddings", true);
    rename_tensors(tied / "model.safetensors", [](const std::string& n) { return n == kHead ? "" : n; });
    return tied;
}

fs::path Workplace::copy_of_model(const std::string& name) const {
    const fs::path copy = dir_ / name;
    fs::create_directories(copy);
    for (const auto& entry : fs::directory_iterator(model)) {  // the original may be read-only
        fs::copy_file(entry.path(), copy / entry.path().filename(), fs::copy_options::overwrite_existing);
        fs::permissions(copy / entry.path().filename(), fs::perms::owner_write, fs::perm_options::add);
    }
    return copy;
}

TrainOptions Workplace::options(int64_t max_steps) const {
    TrainOptions o;
    o.base.model = model;
    o.base.device = "cpu";
    o.data = data;
    o.output = out;
    o.lora.r = 4;
    o.lora.alpha = 8;
    o.lora.dropout = 0;
    o.batch_size = 4;
    o.grad_accum = 1;
    o.max_length = 64;
    o.max_steps = max_steps;
    o.lr = 1e-2;
    o.lr_scheduler = LrScheduler::constant;
    o.log_every = 1;
    o.save_every = 0;
    o.min_8bit_size = 0;  // the tensors of this model are small
    return o;
}

std::vector<double> Observed::losses() const {
    std::vector<double> values;
    for (const StepReport& step : steps) values.push_back(step.loss);
    return values;
}

std::vector<double> Observed::norms() const {
    std::vector<double> values;
    for (const StepReport& step : steps) values.push_back(step.grad_norm);
    return values;
}

Observed train(const TrainOptions& options, std::optional<int64_t> stop_after, bool with_samples) {
    Observed seen;
    TrainEvents events;
    events.note = [&](const std::string& line) { seen.notes += line + '\n'; };
    events.warning = [&](const std::string& line) { seen.warnings += line + '\n'; };
    events.print = [&](const std::string& line) { seen.printed += line + '\n'; };
    events.step = [&](const StepReport& report) { seen.steps.push_back(report); };
    events.evaluation = [&](const EvalReport& report) { seen.evaluations.push_back(report); };
    if (with_samples) events.sample = [&](const SampleReport& report) { seen.samples.push_back(report); };
    events.stop = [&] { return stop_after && !seen.steps.empty() && seen.steps.back().step >= *stop_after; };
    seen.result = run_training(options, events);
    return seen;
}

GenerateOptions greedy(const fs::path& model, const std::string& prompt, const fs::path& adapter) {
    GenerateOptions o;
    o.base.model = model;
    o.base.device = "cpu";
    o.prompt = prompt;
    o.sampler.temperature = 0;
    o.max_new_tokens = 16;
    if (!adapter.empty()) o.adapters = {{adapter, 1}};
    return o;
}

Generated generate(const GenerateOptions& options) {
    Generated seen;
    GenerateEvents events;
    events.text = [&](const std::string& piece) { seen.text += piece; };
    events.line = [&](const std::string& line) { seen.text += line + '\n'; };
    events.note = [&](const std::string& line) { seen.notes += line + '\n'; };
    events.warning = [&](const std::string& line) { seen.warnings += line + '\n'; };
    seen.result = run_generation(options, events);
    return seen;
}

std::vector<int64_t> numbers_in(const fs::path& folder) {
    std::vector<int64_t> numbers;
    for (const FoundCheckpoint& c : find_checkpoints(folder)) numbers.push_back(c.number);
    return numbers;
}

std::vector<std::string> files_in(const fs::path& folder) {
    std::vector<std::string> files;
    if (!fs::is_directory(folder)) return files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), folder).string());
    std::ranges::sort(files);
    return files;
}

}  // namespace ggq::test
