// merge: adapters into a model, tensor by tensor, and a measured report of what that changed.
//
//   build/bin/merge --model DIR --adapter DIR --output DIR [--report-data FILE]      (see --help)
//
// The result goes to stdout, all else to stderr.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "examples/support/events_to_stderr.h"
#include "examples/support/export_flags.h"
#include "examples/support/flag_words.h"
#include "examples/support/interrupt.h"
#include "examples/support/run_program.h"

namespace ggq {

namespace {

nlohmann::ordered_json as_json(const MergeReport& report) {
    const Comparison& c = report.difference;
    return {{"merge_base", option_text(kMergeBases, report.onto)},
            {"tokens", c.n_tokens},
            {"mean_kl", c.kl},
            {"top1_agreement", c.same_top},
            {"largest_logit_difference", c.largest_difference},
            {"perplexity_base_and_adapter", c.reference_perplexity()},
            {"perplexity_merged", c.other_perplexity()}};
}

std::string as_json(const MergeResult& r) {
    nlohmann::ordered_json json = {{"merge_base", option_text(kMergeBases, r.onto)},
                                   {"tensors", r.n_weights},
                                   {"merged", r.n_merged},
                                   {"untied", r.untied},
                                   {"erased_by_rounding", r.rounding.n_erased},
                                   {"worst_rounding_of_update", r.rounding.worst.error()}};
    json["reports"] = nlohmann::ordered_json::array();
    for (const MergeReport& report : r.reports) json["reports"].push_back(as_json(report));
    return json.dump();
}

std::string as_text(const MergeReport& report) {
    const Comparison& c = report.difference;
    return fmt::format(
        "{:<12} mean KL {:.3g} nats, top-1 agreement {:.3f} %, largest logit difference {:.3g}, perplexity {:.4f} "
        "(base + adapter {:.4f}), {} tokens",
        option_text(kMergeBases, report.onto), c.kl, 100 * c.same_top, c.largest_difference, c.other_perplexity(),
        c.reference_perplexity(), c.n_tokens);
}

std::string as_text(const MergeResult& r, const std::string& output) {
    std::string text =
        fmt::format("merged into the {} base: {} of {} tensors, saved to {}; rounding is at most {:.3g} of an update",
                    option_text(kMergeBases, r.onto), r.n_merged, r.n_weights, told(output), r.rounding.worst.error());
    for (const MergeReport& report : r.reports) text += "\n" + as_text(report);
    if (r.onto != MergeBase::requantized)
        text += "\ngenerate and evaluate take it as it is with --quant none; without it they quantize it again";
    return text;
}

int run(const Strings& args) {
    MergeOptions options;
    FlagTable flags = merge_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    const MergeResult result = run_merge(options, events_to_stderr(options.quiet, interrupt));
    std::cout << (options.json ? as_json(result) : as_text(result, options.output)) << std::endl;
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
