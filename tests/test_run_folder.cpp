// What is in the output folder of a run and which checkpoint is gone on from: nothing of others is touched, nothing
// that is not whole is used, nothing is removed before its successor is there.
#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "models/train/run_folder.h"
#include "tests/file_checks.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Numbers = std::vector<int64_t>;

TrainOptions saving(const Workplace& place, int64_t n_steps, int64_t every = 1) {
    TrainOptions options = place.options(n_steps);
    options.save_every = every;
    return options;
}

TrainOptions resumed(TrainOptions options, const fs::path& checkpoint = "") {
    options.resume = checkpoint;
    return options;
}

fs::path checkpoint(const Workplace& place, int64_t number) { return checkpoint_path(place.out, number); }

void flip_last_bit(const fs::path& file) {
    std::string bytes = content_of(file);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_text(file, bytes);
}

void change_state(const fs::path& checkpoint, const std::function<void(nlohmann::ordered_json&)>& change) {
    nlohmann::ordered_json state = nlohmann::ordered_json::parse(content_of(checkpoint / kStateFile));
    change(state);
    write_text(checkpoint / kStateFile, state.dump());
}

std::string why_not_resumed(const TrainOptions& options) {
    return error_of([&] { train(resumed(options)); });
}

}  // namespace

TEST_CASE("run folder: a resume from an earlier checkpoint that keeps the last ones keeps the new ones") {
    const Workplace place;
    TrainOptions options = saving(place, 6);
    train(options);
    options.keep_last = 2;
    options.lr = 1e-3;
    options.accept_changes = true;
    train(resumed(options, checkpoint(place, 3)), 4);
    CHECK(numbers_in(place.out) == Numbers{3, 4});
    check_contains(train(resumed(options)).notes, "checkpoint-4 after 4 updates");
    CHECK(numbers_in(place.out) == Numbers{5, 6});
}

TEST_CASE(
    "run folder: a resume from an earlier checkpoint goes on from its own, and removes what nobody asked for not") {
    const Workplace place;
    const TrainOptions options = saving(place, 6);
    train(options);
    train(resumed(options, checkpoint(place, 2)), 3);
    CHECK(numbers_in(place.out) == Numbers{1, 2, 4, 5, 6, 3});
    check_contains(train(resumed(options), 4).notes, "checkpoint-3 after 3 updates");
    CHECK(numbers_in(place.out) == Numbers{1, 2, 5, 6, 3, 4});
}

TEST_CASE("run folder: overwriting removes the old run's checkpoints, once it has one, and nobody else's") {
    const Workplace place;
    write_text(place.out / "checkpoint-500/pytorch_model.bin", "precious");
    write_text(place.out / "checkpoint-7/trainer_state.json", R"({"global_step": 7})");
    write_text(place.out / "checkpoint-notes", "mine");
    TrainOptions options = saving(place, 4, 2);
    options.overwrite = true;
    train(options);
    CHECK(numbers_in(place.out) == Numbers{2, 4});
    options.save_every = 1;
    options.max_steps = 6;
    CHECK(error_of([&] {
              TrainOptions broken = options;
              broken.lr = 1e-46;  // refused after the first update
              broken.lora.adapter_dtype = DType::bf16;
              train(broken);
          }) != "no error");
    CHECK(numbers_in(place.out) == Numbers{2, 4});
    train(options, 1);
    CHECK(numbers_in(place.out) == Numbers{1});
    CHECK(content_of(place.out / "checkpoint-500/pytorch_model.bin") == "precious");
    CHECK(content_of(place.out / "checkpoint-7/trainer_state.json") == R"({"global_step": 7})");
    CHECK(content_of(place.out / "checkpoint-notes") == "mine");
}

TEST_CASE("run folder: somebody else's folder of a name that the run needs is refused before it begins") {
    const Workplace place;
    write_text(place.out / "checkpoint-3/model.bin", "precious");
    TrainOptions options = saving(place, 4);
    options.overwrite = true;
    CHECK(error_of([&] { train(options); }) ==
          checkpoint(place, 3).string() +
              " was not written by ggq, or is not all there, and this run saves under that name; move it or choose "
              "another folder");
    CHECK(content_of(place.out / "checkpoint-3/model.bin") == "precious");
    CHECK_FALSE(fs::exists(place.out / "log.jsonl"));
    options.max_steps = 2;
    train(options);
    CHECK(numbers_in(place.out) == Numbers{1, 2});
}

TEST_CASE("run folder: an empty or half removed checkpoint is not the newest") {
    for (const char* removed : {"trainer_state.json", "optimizer.safetensors", "adapter_config.json", "all"}) {
        CAPTURE(removed);
        const Workplace place;
        const TrainOptions options = saving(place, 4);
        train(options, 3);
        fs::create_directory(checkpoint(place, 9));
        if (removed == std::string("all")) fs::remove_all(checkpoint(place, 3));
        else fs::remove(checkpoint(place, 3) / removed);
        fs::create_directory(checkpoint(place, 3));
        const Observed run = train(resumed(options));
        check_contains(run.notes, "checkpoint-2 after 2 updates");
        if (removed != std::string("all")) check_contains(run.warnings, "checkpoint-3 is not whole (");
        CHECK(numbers_in(place.out) == Numbers{1, 2, 3, 4});
    }
}

TEST_CASE("run folder: a cut file makes a checkpoint one that is not whole, and without another it is said") {
    const Workplace place;
    const TrainOptions options = saving(place, 4, 0);
    train(options, 2);
    const fs::path optimizer = checkpoint(place, 2) / kOptimizerFile;
    write_text(optimizer, content_of(optimizer).substr(0, 1000));
    const std::string reason = why_not_resumed(options);
    check_contains(reason, "`resume`: " + place.out.string() + " holds no whole checkpoint (checkpoint-2: ");
    check_contains(reason, "optimizer.safetensors has 1000 bytes of ");
    check_contains(reason, "; start again with `overwrite` instead of `resume`");
    write_text(checkpoint(place, 2) / kStateFile, "{\"global_step\": 2");
    check_contains(why_not_resumed(options), "trainer_state.json: broken JSON on line 1");
    write_text(checkpoint(place, 2) / kStateFile, R"({"global_step": 2})");
    check_contains(why_not_resumed(options), "holds no checkpoint-N folder of a run; start without `resume`");
}

TEST_CASE("run folder: a flipped bit in any file of a checkpoint is refused, and another one named") {
    const Workplace place;
    const TrainOptions options = saving(place, 4);
    train(options, 3);
    for (const char* file : {"optimizer.safetensors", "adapter_model.safetensors", "ggq_base.json"}) {
        CAPTURE(file);
        flip_last_bit(checkpoint(place, 3) / file);
        const std::string reason = why_not_resumed(options);
        check_contains(reason,
                       (checkpoint(place, 3) / file).string() + " is not what trainer_state.json records (hash ");
        check_contains(reason, "; another checkpoint: `resume` " + checkpoint(place, 2).string());
        flip_last_bit(checkpoint(place, 3) / file);
    }
    CHECK(why_not_resumed(options) == "no error");
}

TEST_CASE("run folder: a checkpoint of an older version, without hashes, is gone on from and said") {
    const Workplace place;
    const TrainOptions options = saving(place, 4);
    train(options, 2);
    for (const int64_t number : {1, 2})
        change_state(checkpoint(place, number), [](nlohmann::ordered_json& state) {
            state["ggq"].erase("files");
            state["ggq"].erase("generation");
        });
    const Observed run = train(resumed(options));
    check_contains(run.notes, "checkpoint-2 after 2 updates");
    check_contains(run.warnings,
                   "checkpoint-2/trainer_state.json has no hashes of its files, so they are not checked\n");
    CHECK(numbers_in(place.out) == Numbers{1, 2, 3, 4});
}

TEST_CASE("run folder: a damaged log stops no resume: it is written anew, and the damaged one is kept") {
    const Workplace place;
    const TrainOptions options = saving(place, 4);
    train(options, 2);
    const fs::path log = place.out / "log.jsonl";
    const auto before = read_log(log).history;
    std::string damaged = content_of(log);
    damaged[damaged.find("\"loss\"")] = '\xff';
    write_text(log, damaged);
    const Observed run = train(resumed(options), 3);
    check_contains(run.warnings, log.string() + ": broken JSON on line 2: ");
    check_contains(run.warnings,
                   "; the log is written anew from the checkpoint, and the damaged one kept as log.jsonl.damaged\n");
    CHECK(content_of(log.string() + ".damaged") == damaged);
    auto after = read_log(log).history;
    REQUIRE(after.size() == before.size() + 1);
    after.pop_back();
    CHECK(after == before);
    write_text(log, "{}\n5\n");
    check_contains(train(resumed(options)).warnings,
                   log.string() +
                       ": line 2 is no JSON object; the log is written anew from the checkpoint, and the "
                       "damaged one kept as log.jsonl.damaged-2\n");
    CHECK(content_of(log.string() + ".damaged") == damaged);
}

TEST_CASE("run folder: numbers that no run writes are refused by name") {
    const Workplace place;
    const TrainOptions options = saving(place, 4);
    train(options, 2);
    const fs::path state = checkpoint(place, 2) / kStateFile;
    const std::string before = content_of(state);
    const auto refused = [&](const char* key, const char* value, bool own) {
        CAPTURE(key);
        CAPTURE(value);
        change_state(checkpoint(place, 2), [&](nlohmann::ordered_json& json) {
            (own ? json["ggq"] : json)[key] = nlohmann::ordered_json::parse(value);
        });
        const std::string reason = why_not_resumed(options);
        check_contains(reason, state.string() + ": " + key + " must be ");
        check_contains(reason, "; another checkpoint: `resume` " + checkpoint(place, 1).string());
        write_text(state, before);
    };
    for (const char* value : {"-1", "1e300", "1099511627776", "18446744073709551615", "2.5", "3", "0", "\"2\"", "null"})
        refused("global_step", value, false);
    for (const char* key : {"max_steps", "num_input_tokens_seen"})
        for (const char* value : {"-1", "1e300", "18446744073709551615", "null", "[]"}) refused(key, value, false);
    for (const char* value : {"-1", "3", "1e9", "\"1\""}) refused("best_global_step", value, false);
    refused("epoch", "\"1\"", false);
    for (const char* value : {"{}", "[1]", R"([{"step": "x"}])", R"([{"step": 3}])", R"([{"loss": 1}])",
                              R"([{"step": 1, "eval_loss": "x"}])"})
        refused("log_history", value, false);
    for (const char* value : {"-1", "1", "1e300", "18446744073709551615"}) refused("micro_batches", value, true);
    for (const char* value : {"0", "-2", "1e300", "3", "65537", "1e-6", "36893488147419103232", "null", "\"1\""})
        refused("loss_scale", value, true);
    for (const char* key : {"updates_at_scale", "evaluations_without_gain", "window_updates"})
        for (const char* value : {"-1", "1e300", "4294967296"}) refused(key, value, true);
    for (const char* value : {"-1", "1e300", "2147483647", "18446744073709551615", "\"1\""}) {
        change_state(checkpoint(place, 2), [&](nlohmann::ordered_json& json) {
            json["ggq"]["generation"] = nlohmann::ordered_json::parse(value);
        });
        check_contains(error_of([&] { train(resumed(options, checkpoint(place, 2))); }),
                       state.string() + ": generation must be ");
        const auto found = find_checkpoints(place.out);
        CHECK(found.back().path == checkpoint(place, 1));
        check_contains(found.front().fault, "generation");
        write_text(state, before);
    }
    refused("window_loss", "\"1\"", true);
    refused("data_hash", "1", true);
    refused("options", "[]", true);
    CHECK(why_not_resumed(options) == "no error");
}

TEST_CASE("run folder: a checkpoint of another folder goes on in an empty one, or in one that may be overwritten") {
    const Workplace place;
    TrainOptions first = saving(place, 4);
    first.output = place / "first";
    train(first, 1);
    train(saving(place, 3));
    const auto before = files_in(place.out);
    const std::string adapter = content_of(place.out / "adapter_model.safetensors");
    TrainOptions options = resumed(saving(place, 4), first.output + "/checkpoint-1/");
    options.keep_last = 1;
    check_contains(error_of([&] { train(options); }), "is not empty; choose another one or allow it with `overwrite`");
    CHECK(files_in(place.out) == before);
    CHECK(content_of(place.out / "adapter_model.safetensors") == adapter);
    options.overwrite = true;
    check_contains(train(options).notes, "after 1 updates");
    CHECK(numbers_in(place.out) == Numbers{4});
    CHECK(numbers_in(first.output) == Numbers{1});
    options.overwrite = false;
    options.output = place / "empty";
    train(options);
    CHECK(numbers_in(options.output) == Numbers{4});
}

TEST_CASE("run folder: a checkpoint of which nobody knows whose it is stays") {
    const Workplace place;
    write_text(place.out / "checkpoint-9/optimizer.safetensors", "precious");
    write_text(place.out / "checkpoint-9/trainer_state.json", "{");
    TrainOptions options = saving(place, 3);
    options.overwrite = true;
    options.keep_last = 1;
    train(options);
    CHECK(numbers_in(place.out) == Numbers{9, 3});
    CHECK(content_of(place.out / "checkpoint-9/optimizer.safetensors") == "precious");
    options.max_steps = 9;
    check_contains(error_of([&] { train(options); }), "checkpoint-9 was not written by ggq, or is not all there");
}

TEST_CASE("run folder: a saved device that is no text does not matter") {
    for (const char* value : {"5", "null", "[]"}) {
        const Workplace place;
        const TrainOptions options = saving(place, 3);
        train(options, 2);
        change_state(checkpoint(place, 2), [&](nlohmann::ordered_json& json) {
            json["ggq"]["options"]["device"] = nlohmann::ordered_json::parse(value);
        });
        CHECK(why_not_resumed(options) == "no error");
    }
}

TEST_CASE("run folder: a whole model that takes the place of an adapter leaves nothing of it") {
    const Workplace place;
    train(place.options(1));
    write_text(place.out / "special_tokens_map.json", "{}");
    write_text(place.out / "README.md", "mine");
    TrainOptions options = place.options(1);
    options.train = TrainKind::full;
    options.overwrite = true;
    train(options);
    for (const char* gone : {"adapter_config.json", "adapter_model.safetensors", "ggq_base.json"})
        CHECK_FALSE(fs::exists(place.out / gone));
    CHECK(fs::exists(place.out / "special_tokens_map.json") == fs::exists(place.model / "special_tokens_map.json"));
    CHECK(fs::exists(place.out / "model.safetensors"));
    CHECK(content_of(place.out / "README.md") == "mine");
}

TEST_CASE(
    "run folder: an adapter that takes the place of a whole model leaves nothing of it, and nobody else's model goes") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.overwrite = true;
    options.train = TrainKind::full;
    train(options);
    write_text(place.out / "generation_config.json", "{}");
    write_text(place.out / "README.md", "mine");
    options.train = TrainKind::lora;
    CHECK(train(options).warnings.find("stays beside the adapter") == std::string::npos);
    for (const char* gone : {"config.json", "model.safetensors", "generation_config.json"})
        CHECK_FALSE(fs::exists(place.out / gone));
    CHECK(fs::exists(place.out / "adapter_config.json"));
    CHECK(content_of(place.out / "README.md") == "mine");
    for (const char* file : {"config.json", "model.safetensors"}) fs::copy(place.model / file, place.out / file);
    check_contains(train(options).warnings,
                   (place.out / "model.safetensors").string() + " stays beside the adapter, as it does not say that");
    for (const char* file : {"config.json", "model.safetensors"})
        CHECK(content_of(place.out / file) == content_of(place.model / file));
}

TEST_CASE("run folder: an adapter that is written beside its own base leaves it, whoever wrote that") {
    const Workplace place;
    TrainOptions options = place.options(1);
    options.train = TrainKind::full;
    train(options);
    const std::string base = content_of(place.out / "model.safetensors");
    options.train = TrainKind::lora;
    options.base.model = place.out;
    options.overwrite = true;
    train(options);
    CHECK(content_of(place.out / "model.safetensors") == base);
    CHECK(generate(greedy(place.out, "Once", place.out)).result.new_tokens > 0);
}

TEST_CASE("run folder: what killed runs left half written is removed, what lacks only its name gets it") {
    const Workplace place;
    const TrainOptions options = saving(place, 4);
    train(options, 3);
    fs::rename(checkpoint(place, 3), place.out / "checkpoint-3.tmp-77");
    fs::copy(checkpoint(place, 2), place.out / "checkpoint-2.tmp-78-1");
    fs::copy(checkpoint(place, 2), place.out / "checkpoint-9.tmp-78");  // its state says 2
    fs::copy(checkpoint(place, 1), place.out / "checkpoint-8.tmp-77-old");
    write_text(place.out / "checkpoint-4.tmp-2/optimizer.safetensors", "half");
    write_text(place.out / ".new.tmp-2/adapter_model.safetensors", "half");
    write_text(place.out / "log.jsonl.tmp-5", "half");
    write_text(place.out / "loss.png.tmp-5-1", "half");
    write_text(place.out / "notes.txt.tmp-5", "mine");
    write_text(place.out / "checkpoint-4.tmp-mine", "mine");
    check_contains(train(resumed(options)).notes, "checkpoint-3 after 3 updates");
    CHECK(numbers_in(place.out) == Numbers{1, 2, 3, 4});
    std::string left;
    for (const auto& entry : fs::directory_iterator(place.out))
        if (entry.path().filename().string().find(".tmp-") != std::string::npos) left += entry.path().filename();
    CHECK(left.size() == std::string("notes.txt.tmp-5checkpoint-4.tmp-mine").size());
}

TEST_CASE("run folder: a second run in the folder is refused while the first one reads, trains and saves") {
    const Workplace place;
    TrainOptions options = saving(place, 3);
    TrainEvents events;
    std::string reasons;
    const auto start_another = [&] {
        for (const bool overwrite : {false, true}) {
            TrainOptions other = options;
            other.overwrite = overwrite;
            reasons += error_of([&] { train(other); }) + '\n';
        }
    };
    events.note = [&](const std::string& line) {
        if (line.starts_with("data:")) start_another();
    };
    events.step = [&](const StepReport& report) {
        if (report.step == 2) start_another();
    };
    run_training(options, events);
    const std::string reason =
        "another run is writing into the folder " + place.out.string() + "; wait for its end or choose another one\n";
    CHECK(reasons == reason + reason + reason + reason);
    CHECK(numbers_in(place.out) == Numbers{1, 2, 3});
}

TEST_CASE("run folder: an adapter that is a mixture of two runs, or damaged, is refused") {
    const Workplace place;
    train(place.options(2));
    TrainOptions other = place.options(2);
    other.output = place / "other";
    other.lora.alpha = 16;
    train(other);
    const fs::path config = place.out / "adapter_config.json", tensors = place.out / "adapter_model.safetensors";
    const std::string good_config = content_of(config), good_tensors = content_of(tensors);
    const auto refusal = [&] { return error_of([&] { generate(greedy(place.model, "Once", place.out)); }); };
    CHECK(refusal() == "no error");
    for (const fs::path& file : {config, tensors}) {
        write_text(file, content_of(place / "other" / file.filename()));
        check_contains(refusal(), file.string() + " is not what ggq_base.json records (");
        write_text(config, good_config);
        write_text(tensors, good_tensors);
    }
    flip_last_bit(tensors);
    check_contains(refusal(), tensors.string() + " is not what ggq_base.json records (hash ");
    for (const char* files : {"{}", "null"}) {
        nlohmann::ordered_json record = nlohmann::ordered_json::parse(content_of(place.out / "ggq_base.json"));
        record["files"] = nlohmann::ordered_json::parse(files);
        if (record["files"].is_null()) record.erase("files");
        write_text(place.out / "ggq_base.json", record.dump());
        check_contains(
            generate(greedy(place.model, "Once", place.out)).warnings,
            (place.out / "ggq_base.json").string() + " has no hashes of its files, so they are not checked\n");
    }
    fs::remove(place.out / "ggq_base.json");  // as PEFT writes it
    CHECK(refusal() == "no error");
}

TEST_CASE("run folder: an interrupt before the first update leaves nothing, and a resumed run what it had") {
    const Workplace place;
    const TrainOptions options = saving(place, 4);
    TrainEvents events;
    int64_t asked = 0, when = 1;
    events.stop = [&] { return ++asked >= when; };
    while (true) {
        asked = 0;
        const TrainResult result = run_training(options, events);
        if (result.saved) break;
        CHECK(result.interrupted);
        CHECK(result.steps == 0);
        CHECK(files_in(place.out).size() <= 1);  // the log
        fs::remove_all(place.out);
        when += 1 + when / 4;
    }
    CHECK(when > 60);  // asked for each record at the least
    const auto before = files_in(place.out);
    for (when = 1; when < 60; when += 7) {
        asked = 0;
        CHECK_FALSE(run_training(resumed(options), events).saved);
        CHECK(files_in(place.out) == before);
    }
}

}  // namespace ggq::test
