// evaluate: loss and perplexity of a data file under a Llama, with or without a LoRA adapter.
//
//   build/bin/evaluate --model DIR --data FILE [--adapter DIR] [--json]      (see --help)
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
#include "models/evaluate/evaluation.h"

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

int run(const Strings& args) {
    EvaluateOptions options;
    FlagTable flags = evaluate_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    Profile profile;
    const Evaluation e =
        run_evaluation(options, events_to_stderr(options.quiet, interrupt), options.profile ? &profile : nullptr);
    std::cout << (options.json ? as_json(e) : as_text(e)) << std::endl;
    if (options.profile) std::cerr << profile.table();
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
