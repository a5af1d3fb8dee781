// Whole runs for tests: a small trained model, made-up samples, and what a run said and left behind.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/generate/session.h"
#include "models/train/trainer.h"
#include "tests/temp_dir.h"

namespace ggq::test {

// A trained model with tokenizer, always the one in tests/fixtures: results depend on it.
std::filesystem::path small_model();

// Question n and its answer: "Who likes Tom? " "Lily likes Tom.", some short, some longer.
std::string sample_line(int n);
std::string sample_lines(int count, int first = 0);  // JSONL

void write_text(const std::filesystem::path& path, const std::string& text);

// Sets a key of a model's config.json.
void change_config(const std::filesystem::path& model, const char* key, const nlohmann::json& value);

inline constexpr const char* kTable = "model.embed_tokens.weight";
inline constexpr const char* kHead = "lm_head.weight";

// Writes the tensors of a model or adapter anew, each under the name that `named` gives it ("": left out).
void rename_tensors(const std::filesystem::path& file, const std::function<std::string(const std::string&)>& named);

// A folder with room for data and results.
class Workplace {
    TempDir dir_;  // before the paths in it

public:
    Workplace();

    const std::filesystem::path model = small_model();
    const std::filesystem::path data = dir_ / "data.jsonl";  // 60 samples
    const std::filesystem::path out = dir_ / "out";

    std::filesystem::path operator/(const std::filesystem::path& name) const { return dir_ / name; }

    // A copy of the model that a test may damage.
    std::filesystem::path copy_of_model(const std::string& name = "model") const;
    // One whose table of embeddings is its head too.
    std::filesystem::path tied_model() const;

    // Short rows, a high constant rate, no dropout, checkpoints at the end only: 8 samples in an update.
    TrainOptions options(int64_t max_steps) const;
};

// What a run reported.
struct Observed {
    TrainResult result;
    std::vector<StepReport> steps;
    std::vector<EvalReport> evaluations;
    std::vector<SampleReport> samples;
    std::string notes, warnings, printed;  // a line each

    std::vector<double> losses() const;
    std::vector<double> norms() const;
};

// With `stop_after` the run is interrupted after that many updates in all.
Observed train(const TrainOptions& options, std::optional<int64_t> stop_after = std::nullopt,
               bool with_samples = false);

struct Generated {
    GenerateResult result;
    std::string text, notes, warnings;
};

// Greedy, 16 new tokens.
GenerateOptions greedy(const std::filesystem::path& model, const std::string& prompt,
                       const std::filesystem::path& adapter = {});
Generated generate(const GenerateOptions& options);

// Of the checkpoints in a folder, the newest last.
std::vector<int64_t> numbers_in(const std::filesystem::path& folder);

// Relative paths of all files in a folder, sorted.
std::vector<std::string> files_in(const std::filesystem::path& folder);

}  // namespace ggq::test
