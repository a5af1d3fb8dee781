// Data, options and prompts that make no sense: one clear sentence, before anything is written.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "ggq/device.h"
#include "models/text/dataset.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Change = std::function<void(TrainOptions&)>;

// Why a run is refused; it must not make its output folder.
std::string refusal(const Workplace& place, const Change& change) {
    TrainOptions options = place.options(2);
    change(options);
    const std::string reason = error_of([&] { train(options); });
    CHECK_FALSE(fs::exists(place.out));
    CHECK(reason.find('\n') == std::string::npos);
    return reason;
}

std::string option_refusal(const Change& change) { return refusal(Workplace(), change); }

std::string data_refusal(
    const std::string& text, const Change& change = [](TrainOptions&) {}) {
    const Workplace place;
    write_text(place.data, text);
    const std::string reason = refusal(place, change), name = place.data.string();
    CHECK(reason.starts_with(name));
    return reason.substr(std::min(reason.size(), name.size()));
}

void check_data_is_fine(const std::string& text) {
    const Workplace place;
    write_text(place.data, text);
    const Observed run = train(place.options(1));
    check_contains(run.notes, "20 records as completion, 20 samples");
}

}  // namespace

TEST_CASE("bad data: missing, empty or a folder") {
    const Workplace place;
    fs::remove(place.data);
    CHECK(refusal(place, [](TrainOptions&) {}) == place.data.string() + ": no such file");
    fs::create_directory(place.data);
    CHECK(refusal(place, [](TrainOptions&) {}) ==
          place.data.string() + ": expected a file of data, or a folder with train.jsonl (or .json, .csv, .tsv, .txt)");
    CHECK(data_refusal("") == ": the file is empty, expected training samples");
    CHECK(data_refusal(" \r\n\n") == ": the file is empty, expected training samples");
    CHECK(data_refusal("[]") == ": expected training samples, got none");
}

TEST_CASE("bad data: broken JSON, with its line") {
    check_contains(data_refusal(sample_lines(2) + "\n{\"prompt\": \"a\", \"completion\" \"b\"}\n" + sample_lines(3)),
                   ": broken JSON on line 4: ");
    check_contains(data_refusal("[\n{\"prompt\": \"a\",\n \"completion\": b}]"), ": broken JSON on line 3: ");
    check_contains(data_refusal(sample_lines(2) + "7\n"), "line 3: expected an object with messages or conversations");
    check_contains(data_refusal("{\"question\": \"a\"}\n"), "unknown form of data: expected messages or conversations");
    check_contains(data_refusal("version https://git-lfs.github.com/spec/v1\n"), " is a Git LFS pointer");
}

TEST_CASE("bad data: invalid UTF-8, with its line; a BOM and CRLF are fine") {
    check_contains(data_refusal(sample_lines(1) + "{\"text\": \"\xff\"}\n"), ": line 2 is not valid UTF-8 (byte 0xff)");
    check_data_is_fine("\xEF\xBB\xBF" + sample_lines(20));
    std::string crlf;
    for (const char c : sample_lines(20)) crlf += c == '\n' ? "\r\n" : std::string(1, c);
    check_data_is_fine(crlf);
    crlf.erase(crlf.size() - 2);
    check_data_is_fine(crlf);
}

TEST_CASE("bad data: no sample with a label token, or every sample too long") {
    check_contains(data_refusal(sample_lines(20), [](TrainOptions& o) { o.max_length = 8; }),
                   ": every one of 20 samples is longer than 8 tokens (the shortest has ");
    check_contains(
        data_refusal(sample_lines(20), [](TrainOptions& o) { o.max_length = 5, o.on_long = OnLong::cut_right; }),
        ": no sample has a token that carries loss (20 of 20 were left out for that)");
}

TEST_CASE("bad data: a token beyond the model's vocabulary") {
    const Workplace place;
    const Tokenizer tokenizer = Tokenizer::load(place.model);
    check_contains(error_of([&] { load_dataset(place.data, tokenizer, 400, {}); }),
                   "is beyond the model's vocabulary of 400; tokenizer and model do not belong together");
}

TEST_CASE("bad data: validation data are checked alike") {
    const Workplace place;
    write_text(place / "val.jsonl", "{\n");
    CHECK(refusal(place, [&](TrainOptions& o) {
              o.val_data = place / "val.jsonl";
          }).starts_with((place / "val.jsonl").string() + ": broken JSON on line 1"));
}

TEST_CASE("bad options: targets that match nothing") {
    check_contains(option_refusal([](TrainOptions& o) { o.lora.targets = "query"; }),
                   "`lora_targets` query: matches none of the model's linear layers (q_proj, k_proj,");
    check_contains(option_refusal([](TrainOptions& o) { o.lora.targets = "q_proj,query"; }),
                   "`lora_targets`: 'query' matches none of the model's linear layers");
    check_contains(option_refusal([](TrainOptions& o) { o.lora.targets = ".*query.*"; }),
                   "`lora_targets` .*query.*: matches none of the model's linear layers");
    check_contains(option_refusal([](TrainOptions& o) { o.lora.targets = "(q_proj"; }), "(q_proj");
    check_contains(option_refusal([](TrainOptions& o) { o.lora.layers = "9"; }), "`lora_layers`: expected 1 to 5");
}

TEST_CASE("bad options: more tokens than the model has positions") {
    CHECK(option_refusal([](TrainOptions& o) { o.max_length = 513; }) ==
          "`max_length` 513: the model has 512 positions; use at most that many");
}

TEST_CASE("bad options: rates, ranks and sizes that are NaN, negative or zero") {
    const struct {
        const char* expected;
        Change change;
    } cases[] = {
        {"`lr`: expected a number above 0, got nan", [](TrainOptions& o) { o.lr = kNan; }},
        {"`lr`: expected a number above 0, got inf", [](TrainOptions& o) { o.lr = kInfinity; }},
        {"`lr`: expected a number above 0, got 0", [](TrainOptions& o) { o.lr = 0; }},
        {"`lr`: expected a number above 0, got -1", [](TrainOptions& o) { o.lr = -1; }},
        {"`lora_r`: expected a number above 0, got 0", [](TrainOptions& o) { o.lora.r = 0; }},
        {"`lora_r`: expected a number above 0, got -4", [](TrainOptions& o) { o.lora.r = -4; }},
        {"`lora_alpha`: expected a number above 0, got nan", [](TrainOptions& o) { o.lora.alpha = kNan; }},
        {"`lora_dropout`: expected a number from 0 to below 1, got 1", [](TrainOptions& o) { o.lora.dropout = 1; }},
        {"`batch_size`: expected a number above 0, got 0", [](TrainOptions& o) { o.batch_size = 0; }},
        {"`grad_accum`: expected a number above 0, got -1", [](TrainOptions& o) { o.grad_accum = -1; }},
        {"`max_length`: expected a number above 0, got 0", [](TrainOptions& o) { o.max_length = 0; }},
        {"`max_length`: expected 2 tokens or more, got 1", [](TrainOptions& o) { o.max_length = 1; }},
        {"`lr_min`: expected at most the learning rate (0.0002), got 0.001",
         [](TrainOptions& o) { o.lr.reset(), o.lr_min = 1e-3; }},
        {"`epochs`: expected a number above 0, got -1", [](TrainOptions& o) { o.epochs = -1; }},
        {"`epochs` 1e+300: expected at most 2147483647 updates in all, got 8e+300 at 8 an epoch; lower it",
         [](TrainOptions& o) { o.max_steps.reset(), o.epochs = 1e300; }},
        {"`grad_accum`: expected at most 2147483647, got 9223372036854775807",
         [](TrainOptions& o) { o.grad_accum = INT64_MAX; }},
        {"`epochs`: expected a number above 0, got nan", [](TrainOptions& o) { o.epochs = kNan; }},
        {"`max_steps`: expected a number above 0, got 0", [](TrainOptions& o) { o.max_steps = 0; }},
        {"`limit`: expected a number above 0, got 0", [](TrainOptions& o) { o.limit = 0; }},
        {"`weight_decay`: expected a number of at least 0, got nan", [](TrainOptions& o) { o.weight_decay = kNan; }},
        {"`max_grad_norm`: expected a number of at least 0, got -1", [](TrainOptions& o) { o.max_grad_norm = -1; }},
        {"`adam_eps`: expected a number above 0, got 0", [](TrainOptions& o) { o.adam_eps = 0; }},
        {"`quant_block`: expected 64, 128 or 256, got 96", [](TrainOptions& o) { o.base.quant_spec.block = 96; }},
        {"`threads`: expected a number of at least 0, got -1", [](TrainOptions& o) { o.base.threads = -1; }},
        {"`output`: expected a folder for the result, got none", [](TrainOptions& o) { o.output = ""; }},
    };
    for (const auto& c : cases) CHECK(option_refusal(c.change) == c.expected);
}

TEST_CASE("bad options: a plan that is larger than free memory is refused before anything is loaded") {
    const std::string reason =
        option_refusal([](TrainOptions& o) { o.batch_size = 4'000'000, o.max_length = 512, o.grad_accum = 1; });
    CHECK(reason.starts_with("memory: the plan needs "));
    check_contains(reason, " MiB too few; it would fit with `batch_size` 1 with a larger `grad_accum`");
    check_contains(option_refusal([](TrainOptions& o) { o.batch_size = 5'000'000, o.max_length = 512; }),
                   "`batch_size` 5000000 times `max_length` 512: expected at most 2147483647 tokens in a micro-batch");
}

TEST_CASE("bad options: a device that is not there") {
    if (cuda_info().problem.empty()) return skipped("this machine has a GPU");
    for (const char* device : {"cuda", "cuda:1"}) {
        const std::string expected =
            std::string("`device` ") + device + ": " + cuda_info().problem + "; use `device` cpu";
        CHECK(option_refusal([&](TrainOptions& o) { o.base.device = device; }) == expected);
    }
    check_contains(option_refusal([](TrainOptions& o) { o.base.device = "tpu"; }),
                   "`device`: expected auto, cpu, cuda");
}

TEST_CASE("bad prompt: longer than the context, and the end of the context") {
    const Workplace place;
    GenerateOptions o = greedy(place.model, "Once upon a time there was a little dog.");
    o.max_length = 8;
    CHECK(error_of([&] { generate(o); }) ==
          "`prompt`: it has 12 tokens and the context holds 8; shorten it or raise `max_length`");
    o.max_length = 20;
    const Generated answer = generate(o);
    CHECK(answer.result.reason == StopReason::context);
    CHECK(answer.result.prompt_tokens + answer.result.new_tokens == 20);
    o.max_length = 513;
    CHECK(error_of([&] { generate(o); }) == "`max_length` 513: the model has 512 positions; use at most that many");
    o.max_length.reset();
    for (int i = 0; i < 6; ++i) o.prompt += o.prompt;
    check_contains(error_of([&] { generate(o); }),
                   " tokens and the context holds 512; shorten it, the model takes no more");
}

TEST_CASE("bad options: what is cheap to see is refused before the data is read") {
    const Workplace place;
    write_text(place.data, "{broken");
    const auto first = [&](const Change& change) {
        TrainOptions options = place.options(2);
        change(options);
        return error_of([&] { train(options); });
    };
    check_contains(first([](TrainOptions&) {}), "broken JSON");
    check_contains(first([](TrainOptions& o) { o.lora.targets = "query"; }), "`lora_targets` query: matches none");
    check_contains(first([](TrainOptions& o) { o.resume = ""; }), "`resume`: ");
    check_contains(first([](TrainOptions& o) { o.output = ""; }), "`output`: expected a folder");
    check_contains(first([](TrainOptions& o) { o.lr.reset(), o.lr_min = 1; }), "`lr_min`: ");
    write_text(place.out / "precious.txt", "mine");
    check_contains(first([](TrainOptions&) {}), " is not empty; choose another one");
}

}  // namespace ggq::test
