// The command line: flags and their aliases, configuration files, help, errors with exit codes; the checks of options.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>

#include "examples/support/flag_words.h"
#include "examples/support/flags.h"
#include "examples/support/run_program.h"
#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "models/train/lora_choice.h"
#include "models/train/setup.h"
#include "models/train/trainer_state.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

using namespace ggq;

namespace {

Strings words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
}

// What must be there, so that a test names only what it is about.
Strings with_required(Strings args) {
    for (const char* word : {"-m", "model", "-d", "data.json", "-o", "out"}) args.push_back(word);
    return args;
}

TrainOptions train_options(const Strings& args) {
    TrainOptions options;
    FlagTable table = train_flags(options);
    CHECK_FALSE(table.parse(with_required(args)).has_value());
    return options;
}

GenerateOptions generate_options(Strings args) {
    GenerateOptions options;
    FlagTable table = generate_flags(options);
    args.insert(args.end(), {"-m", "model", "-p", "Once"});
    table.parse(args);
    return options;
}

std::string usage_error(const Strings& args) {
    TrainOptions options;
    FlagTable table = train_flags(options);
    try {
        table.parse(args);
    } catch (const UsageError& error) {
        return error.what();
    }
    return "no error";
}

constexpr int64_t kTooMany = INT64_MAX;

int exit_code(const std::function<int()>& body) {
    std::string name = "/somewhere/ggq-train";
    char* argv[] = {name.data(), nullptr};
    return run_program(1, argv, [&](const Strings&) { return body(); });
}

TEST_CASE("cli: options that the library names are flags on the command line") {
    CHECK(with_flags("`lr_min`: expected less; lower `batch_size` or use `recompute` full") ==
          "--lr-min: expected less; lower --batch-size or use --recompute full");
    CHECK(with_flags("'`ls`' and ` `` stay, `max_length` does not") == "'`ls`' and ` `` stay, --max-length does not");
    CHECK(with_flags("") == "");
    CHECK(with_flags("`") == "`");
    CHECK(told("`stop` \x1b[2J") == "--stop \\u001b[2J");
}

}  // namespace

TEST_CASE("cli: every flag of train sets its option") {
    const TrainOptions o = train_options(words(
        "--val-data v.json --limit 7 --template alpaca --overwrite --device cpu --threads 2 --quant fp4 "
        "--quant-block 128 --quant-only-adapted --lift-f32 --compute-dtype f32 --lora-r 8 --lora-alpha 16 "
        "--lora-dropout 0 --rslora --adapter-dtype bf16 --lora-layers 4-7,12 -b 2 --epochs 1.5 --max-steps 30 "
        "--lr 5e-3 --lr-scheduler cosine --warmup-steps 5 --optim adamw --seed 9 --keep-last 3 --on-long cut-left "
        "--recompute none --no-packing --no-double-quant"));
    CHECK(o.base.model == "model");
    CHECK(o.val_data == "v.json");
    CHECK(o.limit == 7);
    CHECK(o.template_name == "alpaca");
    CHECK(o.overwrite);
    CHECK(o.base.threads == 2);
    CHECK(o.base.quant == DType::fp4);
    CHECK(o.base.quant_spec == QuantSpec{128, false});
    CHECK(o.base.given.any());
    CHECK(o.base.compute_dtype == DType::f32);
    CHECK(o.lora.r == 8);
    CHECK(o.lora.dropout == 0);
    CHECK(o.lora.rslora);
    CHECK(o.lora.adapter_dtype == DType::bf16);
    CHECK(o.lora.layers == "4-7,12");
    CHECK(o.batch_size == 2);
    CHECK(o.epochs == 1.5);
    CHECK(o.max_steps == 30);
    CHECK(o.lr == 5e-3);
    CHECK(o.lr_scheduler == LrScheduler::cosine);
    CHECK(o.warmup_steps == 5);
    CHECK(o.optim == OptimKind::adamw);
    CHECK(o.seed == 9);
    CHECK(o.keep_last == 3);
    CHECK(o.on_long == OnLong::cut_left);
    CHECK(o.recompute == Recompute::none);
    CHECK_FALSE(o.packing);
}

TEST_CASE("cli: defaults") {
    const TrainOptions o = train_options({});
    CHECK(o.base.quant == DType::nf4);
    CHECK(o.base.quant_spec == QuantSpec{64, true});
    CHECK_FALSE(o.base.given.any());
    CHECK(o.packing);
    CHECK_FALSE(o.lr.has_value());
    CHECK_FALSE(o.resume.has_value());
    CHECK(o.optim == OptimKind::paged_adamw_8bit);
    CHECK_NOTHROW(validate(o));
}

TEST_CASE("cli: names of other programs, '-' and '_' alike") {
    const TrainOptions o = train_options(words(
        "--per_device_train_batch_size 3 --gradient-accumulation-steps=2 --learning_rate 1e-3 "
        "--lora_target_modules q_proj v_proj --optim adamw_torch --bnb_4bit_compute_dtype float16 --logging_steps 1 "
        "--lora_rank 4 --max_seq_length 64 --iters 12 --gradient_checkpointing False --packing True "
        "--layers_to_transform 5"));
    CHECK(o.batch_size == 3);
    CHECK(o.grad_accum == 2);
    CHECK(o.lr == 1e-3);
    CHECK(o.lora.targets == "q_proj,v_proj");
    CHECK(o.optim == OptimKind::adamw);
    CHECK(o.base.compute_dtype == DType::f16);
    CHECK(o.log_every == 1);
    CHECK(o.lora.r == 4);
    CHECK(o.max_length == 64);
    CHECK(o.max_steps == 12);
    CHECK(o.recompute == Recompute::none);
    CHECK(o.packing);
    CHECK(o.lora.layers == "5-5");  // one layer by number, not the last five
}

TEST_CASE("cli: switches that stand for a value yield to the flag itself") {
    CHECK(train_options({"--load_in_8bit"}).base.quant == DType::int8);
    CHECK(train_options({"--load_in_8bit"}).base.given.any());
    CHECK(train_options({"--load_in_8bit", "False"}).base.quant == DType::nf4);
    CHECK(train_options({"--bnb_4bit_quant_type", "fp4", "--load_in_4bit"}).base.quant == DType::fp4);
    CHECK(train_options({"--bf16"}).base.compute_dtype == DType::bf16);
    CHECK(train_options({"--train-on-prompt", "--mask-prompt"}).train_on_prompt);
    CHECK(train_options({"--completion_only_loss", "False"}).train_on_prompt);
}

TEST_CASE("cli: resume with and without a folder") {
    CHECK(train_options({"--resume"}).resume == "");
    CHECK(train_options({"--resume=out/checkpoint-5"}).resume == "out/checkpoint-5");
    CHECK(train_options({"--resume_from_checkpoint", "out/checkpoint-5"}).resume == "out/checkpoint-5");
    CHECK(train_options({"--resume_from_checkpoint", "True"}).resume == "");
    CHECK_FALSE(train_options({"--resume_from_checkpoint", "False"}).resume.has_value());
}

TEST_CASE("cli: the last of several wins, and lists keep all") {
    CHECK(train_options({"--lr", "1", "--lr", "2"}).lr == 2);
    CHECK(generate_options({"--stop", "[/INST]", "--stop", "b,c"}).stop == Strings{"[/INST]", "b,c"});
}

TEST_CASE("cli: generate") {
    const GenerateOptions o =
        generate_options({"--temperature", "0", "--top-k", "1", "-n", "5", "--kv-dtype", "bf16", "-c", "99"});
    CHECK(o.prompt == "Once");
    CHECK(o.sampler.temperature == 0);
    CHECK(o.sampler.top_k == 1);
    CHECK(o.max_new_tokens == 5);
    CHECK(o.kv_dtype == DType::bf16);
    CHECK(o.max_length == 99);
    CHECK_NOTHROW(validate(o));
    CHECK(generate_options({"--prompt", "[a, b]"}).prompt == "Once");  // the later one
    GenerateOptions empty;
    CHECK_NOTHROW(generate_flags(empty).parse({"-m", "model", "-p", ""}));
}

TEST_CASE("cli: adapters and their scale") {
    const auto one = [](const Strings& args) {
        const GenerateOptions o = generate_options(args);
        CHECK(o.adapters.size() == 1);
        return std::pair(o.adapters[0].path, o.adapters[0].scale);
    };
    CHECK(one({"--adapter", "out"}) == std::pair<std::string, double>("out", 1));
    CHECK(one({"--lora", "c:/out"}) == std::pair<std::string, double>("c:/out", 1));
    CHECK(one({"--lora-scaled", "out:0.5"}) == std::pair<std::string, double>("out", 0.5));
    CHECK(one({"--lora-scaled", "out", "0.25"}) == std::pair<std::string, double>("out", 0.25));
    CHECK(generate_options({"--adapter", "a", "--adapter", "b"}).adapters.size() == 2);
    const GenerateOptions two = generate_options({"--lora-scaled", "a:0.5", "--lora-scaled", "b", "2"});
    REQUIRE(two.adapters.size() == 2);
    CHECK(two.adapters[1].path == "b");
    CHECK(two.adapters[1].scale == 2);
    CHECK_THROWS_WITH_AS(validate(generate_options({"--adapter", "a:nan"})),
                         "`adapter` a: expected a finite scale, got nan", Error);
}

TEST_CASE("cli: wrong usage names the flag and the nearest one") {
    CHECK(usage_error({"--lerning-rate", "1"}) == "unknown flag --lerning-rate; did you mean --learning-rate?");
    CHECK(usage_error({"--lora_rnk=8"}) == "unknown flag --lora_rnk; did you mean --lora-rank?");
    CHECK(usage_error({"-lr", "1"}) == "unknown flag -lr; did you mean --lr?");
    CHECK(usage_error({"--gpus", "2"}).starts_with("unknown flag --gpus; "));
    CHECK(usage_error({"--xyzzyxyzzy"}) == "unknown flag --xyzzyxyzzy; see --help");
    CHECK(usage_error({"stray"}) == "'stray' belongs to no flag; see --help");
    CHECK(usage_error({"--lr"}) == "--lr needs a value");
    CHECK(usage_error({"--lr", "fast"}) == "--lr: expected a number, got 'fast'");
    CHECK(usage_error({"--lr", "1e-3x"}) == "--lr: expected a number, got '1e-3x'");
    CHECK(usage_error({"--epochs="}) != "no error");
    CHECK(usage_error({"--batch-size", "2.5"}) == "--batch-size: expected a whole number, got '2.5'");
    CHECK(usage_error({"--seed", "-1"}) == "--seed: expected a whole number of at least 0, got '-1'");
    CHECK(usage_error({"--train", "loar"}) == "--train: expected one of lora|full, got 'loar'");
    CHECK(usage_error({"--packing", "perhaps"}) == "--packing: expected true, false or nothing, got 'perhaps'");
    CHECK(usage_error({"-m", "a", "-d", "b"}) == "--output DIR is missing: folder of the result, empty or new");
    CHECK(usage_error({"-m", "a", "-d", "b", "--plan"}) == "no error");
    CHECK(usage_error({"-m", "a", "-d", "b", "--print-graph"}) == "no error");
    CHECK(usage_error({"--no-help"}).starts_with("unknown flag --no-help"));
    CHECK(usage_error({"--no-version"}).starts_with("unknown flag --no-version"));
}

TEST_CASE("cli: a configuration file has the flags as keys, and the command line wins") {
    const test::TempDir folder;
    const std::string path = (folder / "run.json").string();
    const auto parse = [&](const std::string& text, Strings args) {
        write_file(path, text);
        args.insert(args.begin(), {"--config", path});
        TrainOptions options;
        train_flags(options).parse(args);
        return options;
    };
    const Strings data = {"-d", "x.json"};
    const std::string text = R"({"model": "m", "output_dir": "o", "learning_rate": 0.001, "lora-r": 4, "packing": false,
        "lora_target_modules": ["q_proj", "k_proj"], "load_in_8bit": true, "resume": null})";
    const TrainOptions o = parse(text, {"-d", "x.json", "--lr", "0.5"});
    CHECK(o.base.model == "m");
    CHECK(o.output == "o");
    CHECK(o.lr == 0.5);
    CHECK(o.lora.r == 4);
    CHECK_FALSE(o.packing);
    CHECK(o.lora.targets == "q_proj,k_proj");
    CHECK(o.base.quant == DType::int8);
    CHECK_FALSE(o.resume.has_value());
    CHECK(parse(text, {"-d", "x.json", "--quant", "fp4"}).base.quant == DType::fp4);

    CHECK_THROWS_WITH_AS(parse(R"({"lerning_rate": 1})", data),
                         fmt::format("{}: unknown key lerning_rate; did you mean learning-rate?", path).c_str(),
                         UsageError);
    CHECK_THROWS_WITH_AS(parse(R"({"lr": "fast"})", data), "--lr: expected a number, got 'fast'", UsageError);
    CHECK_THROWS_AS(parse(R"({"lr": {"x": 1}})", data), UsageError);
    CHECK_THROWS_AS(parse(R"({"lora_targets": []})", data), UsageError);
    CHECK_THROWS_AS(parse("[1]", data), UsageError);
    CHECK_THROWS_AS(parse("{", data), Error);
    TrainOptions options;
    CHECK_THROWS_AS(train_flags(options).parse({"--config", (folder / "absent.json").string()}), Error);
}

TEST_CASE("cli: what is saved is a configuration file that gives the same options") {
    TrainOptions before = train_options({"--lr", "0.00123", "--lora-layers", "2", "--no-packing", "--quant", "int8",
                                         "--resume", "--limit", "3", "--template", "alpaca"});
    const test::TempDir folder;
    write_file(folder / "run.json", options_json(before).dump());
    TrainOptions after;
    train_flags(after).parse({"--config", (folder / "run.json").string()});
    CHECK(options_json(after).dump(1) == options_json(before).dump(1));
}

TEST_CASE("cli: every flag of train that sets an option is saved") {
    TrainOptions options;
    const FlagTable table = train_flags(options);
    const nlohmann::ordered_json saved = options_json(options);
    for (const Flag& flag : table.flags()) {
        if (flag.translate || flag.group == "general") continue;
        std::string key = flag.names[0].substr(2);
        std::replace(key.begin(), key.end(), '-', '_');
        CAPTURE(key);
        CHECK(saved.contains(key));
    }
}

TEST_CASE("cli: help and version") {
    TrainOptions options;
    const std::string help = *train_flags(options).parse({"--help"});
    CHECK(help.starts_with("train: "));
    CHECK(help.find("usage: train --model PATH --data PATHS --output DIR [flags]") != std::string::npos);
    CHECK(help.find("--batch-size N") != std::string::npos);
    CHECK(help.find("[2e-4; 1e-4 above 33B]") != std::string::npos);
    CHECK(help.find("[on; --no-packing]") != std::string::npos);
    CHECK(help.find("per-device") == std::string::npos);
    for (size_t begin = 0, end = 0; (end = help.find('\n', begin)) != std::string::npos; begin = end + 1)
        CHECK(end - begin <= 110);
    const std::string version = *train_flags(options).parse({"--version"});
    CHECK(version.starts_with("ggq train "));
    CHECK(version.find_first_of("0123456789") == 10);
}

TEST_CASE("cli: exit codes") {
    CHECK(exit_code([] { return 0; }) == 0);
    CHECK(exit_code([] { return 130; }) == 130);
    CHECK(exit_code([]() -> int { throw UsageError("expected in the output: wrong usage"); }) == 2);
    CHECK(exit_code([]() -> int { throw Error("expected in the output: a failure"); }) == 1);
    CHECK(exit_code([]() -> int { throw InternalError("expected in the output: a bug"); }) == 1);
    CHECK(exit_code([]() -> int { throw std::bad_alloc(); }) == 1);
    CHECK(exit_code([]() -> int { throw std::runtime_error("expected in the output: anything else"); }) == 1);
}

TEST_CASE("cli: numbers out of their range are refused by flag") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double infinity = std::numeric_limits<double>::infinity();
    struct Case {
        std::string flag;
        std::function<void(TrainOptions&)> spoil;
    };
    const Case cases[] = {
        {"`val_split`", [&](auto& o) { o.val_split = 1; }},
        {"`val_split`", [&](auto& o) { o.val_split = nan; }},
        {"`val_data`", [&](auto& o) { o.val_data = "v", o.val_split = 0.1; }},
        {"`limit`", [&](auto& o) { o.limit = 0; }},
        {"`limit`", [&](auto& o) { o.limit = kTooMany; }},
        {"`max_length`", [&](auto& o) { o.max_length = 0; }},
        {"`max_length`", [&](auto& o) { o.max_length = 1; }},
        {"`max_length`", [&](auto& o) { o.max_length = kTooMany; }},
        {"`show_samples`", [&](auto& o) { o.show_samples = -1; }},
        {"`lora_r`", [&](auto& o) { o.lora.r = 0; }},
        {"`lora_r`", [&](auto& o) { o.lora.r = -8; }},
        {"`lora_r`", [&](auto& o) { o.lora.r = kTooMany; }},
        {"`lora_alpha`", [&](auto& o) { o.lora.alpha = 0; }},
        {"`lora_alpha`", [&](auto& o) { o.lora.alpha = nan; }},
        {"`lora_dropout`", [&](auto& o) { o.lora.dropout = 1; }},
        {"`lora_dropout`", [&](auto& o) { o.lora.dropout = -0.1; }},
        {"`lora_targets`", [&](auto& o) { o.lora.targets = ""; }},
        {"`from_scratch`", [&](auto& o) { o.from_scratch = true; }},
        {"`train` full", [&](auto& o) { o.train = TrainKind::full, o.base.given.quant = true; }},
        {"`batch_size`", [&](auto& o) { o.batch_size = 0; }},
        {"`batch_size`", [&](auto& o) { o.batch_size = kTooMany; }},
        {"`batch_size`", [&](auto& o) { o.batch_size = INT32_MAX / 512 + 1; }},
        {"`grad_accum`", [&](auto& o) { o.grad_accum = -1; }},
        {"`grad_accum`", [&](auto& o) { o.grad_accum = kTooMany; }},
        {"`global_batch_size`", [&](auto& o) { o.global_batch_size = 6; }},
        {"`global_batch_size`", [&](auto& o) { o.global_batch_size = 0; }},
        {"`epochs`", [&](auto& o) { o.epochs = 0; }},
        {"`epochs`", [&](auto& o) { o.epochs = nan; }},
        {"`max_steps`", [&](auto& o) { o.max_steps = 0; }},
        {"`max_steps`", [&](auto& o) { o.max_steps = kTooMany; }},
        {"`lr`", [&](auto& o) { o.lr = 0; }},
        {"`lr`", [&](auto& o) { o.lr = -1e-4; }},
        {"`lr`", [&](auto& o) { o.lr = nan; }},
        {"`lr`", [&](auto& o) { o.lr = infinity; }},
        {"`lr_min`", [&](auto& o) { o.lr_min = -1; }},
        {"`warmup_ratio`", [&](auto& o) { o.warmup_ratio = 1; }},
        {"`warmup_steps`", [&](auto& o) { o.warmup_steps = -1; }},
        {"`warmup_steps`", [&](auto& o) { o.warmup_steps = kTooMany; }},
        {"`weight_decay`", [&](auto& o) { o.weight_decay = -1; }},
        {"`adam_beta1`", [&](auto& o) { o.adam_beta1 = 1; }},
        {"`adam_beta2`", [&](auto& o) { o.adam_beta2 = nan; }},
        {"`adam_eps`", [&](auto& o) { o.adam_eps = 0; }},
        {"`max_grad_norm`", [&](auto& o) { o.max_grad_norm = -1; }},
        {"`min_8bit_size`", [&](auto& o) { o.min_8bit_size = -1; }},
        {"`log_every`", [&](auto& o) { o.log_every = 0; }},
        {"`eval_every`", [&](auto& o) { o.eval_every = -1; }},
        {"`save_every`", [&](auto& o) { o.save_every = -1; }},
        {"`keep_last`", [&](auto& o) { o.keep_last = 0; }},
        {"`patience`", [&](auto& o) { o.patience = 0; }},
        {"`patience`", [&](auto& o) { o.patience = 2; }},
        {"`threads`", [&](auto& o) { o.base.threads = -1; }},
        {"`threads`", [&](auto& o) { o.base.threads = 1025; }},
        {"`quant_block`", [&](auto& o) { o.base.quant_spec.block = 100; }},
        {"`device`", [&](auto& o) { o.base.device = "gpu"; }},
        {"`device`", [&](auto& o) { o.base.device = "cuda:x"; }},
    };
    for (const Case& c : cases) {
        CAPTURE(c.flag);
        TrainOptions options = train_options({});
        c.spoil(options);
        const std::string message = test::error_of([&] { validate(options); });
        CAPTURE(message);
        CHECK(message.starts_with(c.flag));
    }
    TrainOptions options = train_options({});
    options.lr = -1;
    CHECK_THROWS_WITH_AS(validate(options), "`lr`: expected a number above 0, got -1", Error);
    options.lr = 1;
    options.lora.r = kTooMany;
    CHECK_THROWS_WITH_AS(validate(options), "`lora_r`: expected at most 2147483647, got 9223372036854775807", Error);
}

TEST_CASE("cli: the learning rate is that of the base's size unless it is given, and never below --lr-min") {
    constexpr int64_t kSmall = 8'000'000'000, kLarge = 70'000'000'000;
    TrainOptions options = train_options({"--lr-min", "1.5e-4"});
    CHECK(peak_lr(options, kSmall) == 2e-4);
    CHECK_THROWS_WITH_AS(peak_lr(options, kLarge), "`lr_min`: expected at most the learning rate (0.0001), got 0.00015",
                         Error);
    options.lr_min = 0;
    CHECK(peak_lr(options, kLarge) == 1e-4);
    options = train_options({"--lr", "1e-3", "--lr-min", "1e-3"});
    CHECK(peak_lr(options, kLarge) == 1e-3);
    options.lr_min = 2e-3;
    CHECK_THROWS_AS(peak_lr(options, kSmall), Error);
}

TEST_CASE("cli: epochs that make more updates than can be counted are refused") {
    TrainOptions options = train_options({"--epochs", "2.5"});
    CHECK(total_updates(options, 10) == 25);
    options.epochs = 1e300;
    CHECK_THROWS_WITH_AS(
        total_updates(options, 10),
        "`epochs` 1e+300: expected at most 2147483647 updates in all, got 1e+301 at 10 an epoch; lower it", Error);
    options.max_steps = 3;
    CHECK(total_updates(options, 10) == 3);
}

TEST_CASE("cli: sizes of --gpu-memory") {
    BaseOptions options;
    const auto bytes = [&](const char* text) {
        options.gpu_memory = text;
        return gpu_memory_bytes(options);
    };
    CHECK(bytes("") == 0);
    CHECK(bytes("24GiB") == 24ll << 30);
    CHECK(bytes("1.5 gib") == 3ll << 29);
    CHECK(bytes("500MB") == 500'000'000);
    CHECK(bytes("4096") == 4096);
    for (const char* text : {"much", "-1GiB", "0", "nan", "24 bananas"})
        CHECK_THROWS_WITH_AS(bytes(text),
                             fmt::format("`gpu_memory`: expected a size such as 24GiB, got '{}'", text).c_str(), Error);
}

TEST_CASE("cli: options of generate out of their range are refused by flag") {
    struct Case {
        std::string flag;
        std::function<void(GenerateOptions&)> spoil;
    };
    const Case cases[] = {
        {"`max_new_tokens`", [](auto& o) { o.max_new_tokens = 0; }},
        {"`max_new_tokens`", [](auto& o) { o.max_new_tokens = kTooMany; }},
        {"`max_length`", [](auto& o) { o.max_length = -1; }},
        {"`temp`", [](auto& o) { o.sampler.temperature = -0.1; }},
        {"`temp`", [](auto& o) { o.sampler.temperature = std::nan(""); }},
        {"`top_k`", [](auto& o) { o.sampler.top_k = -1; }},
        {"`top_p`", [](auto& o) { o.sampler.top_p = 0; }},
        {"`top_p`", [](auto& o) { o.sampler.top_p = 1.5; }},
        {"`min_p`", [](auto& o) { o.sampler.min_p = 1; }},
        {"`repeat_penalty`", [](auto& o) { o.sampler.repeat_penalty = 0; }},
        {"`presence_penalty`", [](auto& o) { o.sampler.presence_penalty = std::nan(""); }},
        {"`frequency_penalty`", [](auto& o) { o.sampler.frequency_penalty = std::nan(""); }},
        {"`batch_size`", [](auto& o) { o.batch_size = 0; }},
        {"`stop`", [](auto& o) { o.stop = {""}; }},
        {"`adapter`",
         [](auto& o) {
             o.adapters = {{"a", std::nan("")}};
         }},
    };
    for (const Case& c : cases) {
        CAPTURE(c.flag);
        GenerateOptions options;
        c.spoil(options);
        const std::string message = test::error_of([&] { validate(options); });
        CHECK(message.starts_with(c.flag));
    }
}

TEST_CASE("cli: settle says what will be done instead") {
    TrainOptions options = train_options({"--global-batch-size", "16", "--batch-size", "2"});
    CHECK(settle(options).empty());
    CHECK(options.grad_accum == 8);

    options = train_options({"--train", "full", "--optim", "adamw"});
    CHECK(settle(options) == std::vector<std::string>{"every weight is trained, so the base is not quantized"});
    CHECK_FALSE(options.base.quant.has_value());

    options = train_options({"--train", "full", "--quant", "none", "--optim", "paged_adamw_32bit"});
    CHECK_NOTHROW(validate(options));
    CHECK(settle(options).empty());
}

TEST_CASE("cli: settings that changed since the run was saved") {
    const nlohmann::ordered_json before = options_json(train_options({"--lr", "0.1"}));
    CHECK(changed_options(before, before).empty());
    const TrainOptions later = train_options({"--lr", "0.2", "--log-every", "1", "--resume", "--threads", "1"});
    CHECK(changed_options(before, options_json(later)) == std::vector<std::string>{"lr: was 0.1, is 0.2"});
    nlohmann::ordered_json older = before;
    older["optim"] = "adamw_8bit";  // the default is its paged form
    CHECK(changed_options(older, before).empty());
    older["optim"] = "adamw";
    CHECK(changed_options(older, before).size() == 1);
    older = before;
    older.erase("seed");
    CHECK(changed_options(older, before) == std::vector<std::string>{"seed: was absent, is 42"});
    older["seed"] = std::string(5000, 'x') + "\u202e";
    CHECK(changed_options(older, before).at(0).size() < 500);
    CHECK(changed_options(older, before).at(0).find("\u202e") == std::string::npos);
}

TEST_CASE("cli: layers and targets of the adapter") {
    CHECK(parse_layers("", 4).empty());
    CHECK(parse_layers("-1", 4).empty());
    CHECK(parse_layers("2", 4) == std::vector<int64_t>{2, 3});
    CHECK(parse_layers("1-2,0", 4) == std::vector<int64_t>{0, 1, 2});
    CHECK(parse_layers("3,3-3", 4) == std::vector<int64_t>{3});
    CHECK_THROWS_WITH_AS(parse_layers("5", 4), "`lora_layers`: expected 1 to 4 layers, got 5", Error);
    CHECK_THROWS_WITH_AS(parse_layers("0", 4), "`lora_layers`: expected 1 to 4 layers, got 0", Error);
    CHECK_THROWS_WITH_AS(parse_layers("2-9", 4), "`lora_layers`: expected layers from 0 to 3, got 9", Error);
    CHECK_THROWS_WITH_AS(parse_layers("2-1", 4), "`lora_layers`: the range 2-1 runs backwards", Error);
    CHECK_THROWS_AS(parse_layers("last", 4), Error);
    CHECK_THROWS_AS(parse_layers(",", 4), Error);

    const LoraConfig all = lora_config_of(train_options({"--lora-r", "4", "--rslora"}), 4);
    CHECK(all.target_pattern == kAllLinear);
    CHECK(all.r == 4);
    CHECK(all.use_rslora);
    const LoraConfig list = lora_config_of(train_options({"--lora-targets", "q_proj, v_proj"}), 4);
    CHECK(list.target_modules == Strings{"q_proj", "v_proj"});
    CHECK(list.target_pattern.empty());
    const LoraConfig regex = lora_config_of(train_options({"--lora-targets", R"(.*\.(q|v)_proj)"}), 4);
    CHECK(regex.target_pattern == R"(.*\.(q|v)_proj)");
    CHECK(regex.target_modules.empty());
}
