// evaluate: loss and perplexity of data under a Llama, with or without a LoRA adapter, or how many questions of a test
// it answers rightly.
//
//   build/bin/evaluate --model DIR --data FILE [--adapter DIR] [--json]      (see --help)
//   build/bin/evaluate --model DIR --task choices --data SUBJECT_test.csv ...
//
// The result goes to stdout, all else to stderr.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "examples/support/events_to_stderr.h"
#include "examples/support/flags.h"
#include "examples/support/interrupt.h"
#include "examples/support/run_program.h"
#include "ggq/io/utf8.h"
#include "models/evaluate/task.h"

namespace ggq {

namespace {

std::string as_json(const Evaluation& e) {
    const nlohmann::ordered_json json = {
        {"loss", e.loss},       {"perplexity", perplexity(e)}, {"label_tokens", e.label_tokens},
        {"tokens", e.n_tokens}, {"samples", e.n_samples},      {"seconds", e.seconds}};
    return json.dump();
}

std::string as_text(const Evaluation& e) {
    return fmt::format(
        "loss {:.6f}, perplexity {:.4f}: {} label tokens of {} in {} samples, {:.2f} s ({:.0f} tokens/s)", e.loss,
        perplexity(e), e.label_tokens, e.n_tokens, e.n_samples, e.seconds,
        static_cast<double>(e.n_tokens) / std::max(e.seconds, 1e-9));
}

nlohmann::ordered_json score_json(const TaskScore& s) {
    return {
        {"accuracy", s.accuracy()}, {"standard_error", s.standard_error()}, {"right", s.n_right}, {"questions", s.n}};
}

std::string as_json(const TaskResult& r, const EvaluateOptions& options) {
    nlohmann::ordered_json json = {{"task", option_text(kEvalTasks, options.task)}, {"shots", options.shots}};
    json.update(score_json(r.all));
    json["without_number"] = r.n_without_number;
    json["fewer_shots"] = r.n_fewer_shots;
    json["left_out"] = r.n_too_long;
    json["prompt_tokens"] = r.prompt_tokens;
    json["new_tokens"] = r.new_tokens;
    json["seconds"] = r.seconds;
    for (const TaskResult::File& file : r.files) {
        nlohmann::ordered_json one = {{"file", file.name}};
        one.update(score_json(file.score));
        json["files"].push_back(std::move(one));
    }
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string as_text(const TaskScore& s) {
    return fmt::format("{:.2f} % ({} of {}, standard error {:.2f} %)", 100 * s.accuracy(), s.n_right, s.n,
                       100 * s.standard_error());
}

void show_task(const EvaluateOptions& options, const Events& events, Profile* profile) {
    const TaskResult r = run_task(options, events, profile);
    if (options.json) {
        std::cout << as_json(r, options) << std::endl;
        return;
    }
    for (const TaskResult::File& file : r.files)
        if (r.files.size() > 1) std::cout << fmt::format("{}: {}\n", printable(file.name), as_text(file.score));
    std::cout << fmt::format("accuracy {}, {:.2f} s", as_text(r.all), r.seconds) << std::endl;
    if (r.n_without_number > 0) std::cerr << fmt::format("{} answers had no number\n", r.n_without_number);
}

int run(const Strings& args) {
    EvaluateOptions options;
    FlagTable flags = evaluate_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    Profile profile;
    Profile* const wanted = options.profile ? &profile : nullptr;
    const Events events = events_to_stderr(options.quiet, interrupt);
    if (options.task != EvalTask::loss) {
        show_task(options, events, wanted);
    } else {
        const Evaluation e = run_evaluation(options, events, wanted);
        std::cout << (options.json ? as_json(e) : as_text(e)) << std::endl;
    }
    if (options.profile) std::cerr << profile.table();
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
