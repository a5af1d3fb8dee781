// What a resumed run refuses, and that nothing is lost when it does.
#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "ggq/io/safetensors.h"
#include "tests/file_checks.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> all;
    for (const std::string& file : files_in(folder)) all[file] = content_of(folder / file);
    return all;
}

// A run of four updates that was interrupted after two.
class Interrupted {
public:
    Interrupted() {
        options.base.model = place.copy_of_model();
        train(options, 2);
        options.resume = "";
    }

    const Workplace place;
    TrainOptions options = place.options(4);

    // Why the changed run is refused; its folder must stay as it was.
    std::string refusal() const {
        const auto before = contents(place.out);
        const std::string reason = error_of([&] { train(options); });
        CHECK(contents(place.out) == before);
        return reason;
    }

    std::string accepted() {
        options.accept_changes = true;
        const Observed run = train(options);
        CHECK(run.result.steps == options.max_steps);
        REQUIRE_FALSE(run.steps.empty());
        CHECK(run.steps.front().step == 3);
        return run.warnings;
    }
};

// The first value of the model's embedding becomes another one.
void change_weights(const fs::path& model) {
    const fs::path path = model / "model.safetensors";
    std::string bytes = content_of(path);
    bytes[bytes.size() - 4] ^= 1;
    write_text(path, bytes);
}

}  // namespace

TEST_CASE("resume: a changed setting is refused by name, unless accepted") {
    Interrupted run;
    run.options.lr = 2e-2;
    CHECK(run.refusal() ==
          "`resume`: this run is not the one that was saved (lr: was 0.01, is 0.02); restore what it was, or say "
          "`accept_changes`");
    check_contains(run.accepted(), "changed since the checkpoint: lr: was 0.01, is 0.02\n");
}

TEST_CASE("resume: changed data are refused by name, unless accepted") {
    Interrupted run;
    write_text(run.place.data, sample_lines(60, 1));
    check_contains(run.refusal(), "data: hash was ");
    check_contains(run.accepted(), "changed since the checkpoint: data: hash was ");
}

TEST_CASE("resume: a changed model is refused by name, unless accepted") {
    Interrupted run;
    change_weights(run.options.base.model);
    check_contains(run.refusal(), "base model: hash was ");
    check_contains(run.accepted(), "changed since the checkpoint: base model: hash was ");
}

TEST_CASE("resume: a changed configuration of the model is refused by name, unless accepted") {
    Interrupted run;
    change_config(run.options.base.model, "rope_theta", 20000);
    check_contains(run.refusal(), "base model: hash was ");
    check_contains(run.accepted(), "changed since the checkpoint: base model: hash was ");
}

TEST_CASE("resume: every change is named at once") {
    Interrupted run;
    run.options.seed = 7;
    run.options.max_steps = 9;
    const std::string reason = run.refusal();
    check_contains(reason, "max_steps: was 4, is 9; seed: was 42, is 7");
}

TEST_CASE("resume: an adapter of another shape cannot be accepted") {
    Interrupted run;
    run.options.lora.r = 8;
    run.options.accept_changes = true;
    const std::string reason = error_of([&] { train(run.options); });
    check_contains(reason, "/optimizer.safetensors: ");
    check_contains(reason, ": the checkpoint has u8[");
    check_contains(reason, "rank, targets or optimizer differ");
}

TEST_CASE("resume: what may change does not matter") {
    Interrupted run;
    run.options.base.threads = 1;
    run.options.log_every = 2;
    run.options.save_every = 1;
    const fs::path moved = run.place / "moved";
    fs::rename(run.options.base.model, moved);
    run.options.base.model = moved;
    CHECK(train(run.options).warnings.find("changed since") == std::string::npos);
}

TEST_CASE("resume: with nothing there, it says so and makes nothing") {
    const Workplace place;
    TrainOptions options = place.options(2);
    options.resume = "";
    CHECK(error_of([&] { train(options); }) ==
          "`resume`: " + place.out.string() + " holds no checkpoint-N folder of a run; start without `resume`");
    CHECK_FALSE(fs::exists(place.out));
    options.resume = place / "checkpoint-7";
    check_contains(error_of([&] { train(options); }), (place / "checkpoint-7/trainer_state.json").string());
}

}  // namespace ggq::test
