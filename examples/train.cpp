// train: fine-tunes a Llama with LoRA on a quantized base, or trains every weight.
//
//   build/bin/train --model DIR --data FILE --output DIR      (see --help)
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "examples/support/events_to_stderr.h"
#include "examples/support/flag_words.h"
#include "examples/support/flags.h"
#include "examples/support/interrupt.h"
#include "examples/support/plot.h"
#include "examples/support/progress.h"
#include "examples/support/run_program.h"
#include "ggq/error.h"
#include "models/lint/lint.h"
#include "models/train/log.h"
#include "models/train/trainer.h"

namespace ggq {

namespace {

void print_sample(ProgressDisplay& display, const SampleReport& s) {
    display.note(std::string(s.after ? "after" : "before") + " training, greedy:\n  prompt:   " + s.prompt +
                 "\n  expected: " + s.expected + "\n  answer:   " + s.answer);
}

void warn(ProgressDisplay& display, bool quiet, const std::string& line) {
    if (quiet) std::cerr << "warning: " << told(line) << '\n';
    else display.note("warning: " + with_flags(line));
}

TrainEvents events_for(ProgressDisplay& display, const Interrupt& interrupt, bool quiet) {
    TrainEvents events;
    events.note = [&](const std::string& line) { display.note(with_flags(line)); };
    events.warning = [&display, quiet](const std::string& line) { warn(display, quiet, line); };
    events.print = [](const std::string& line) { std::cout << told(line) << '\n'; };
    events.data_sample = [&](const std::string& lines) { display.note(lines); };
    events.step = [&](const StepReport& r) {
        display.update({r.step, r.total_steps, r.loss, r.learning_rate, r.grad_norm, r.tokens_per_second,
                        r.seconds_left, r.peak_bytes, r.share_of_ceiling});
    };
    events.evaluation = [&](const EvalReport& r) {
        display.note("step " + std::to_string(r.step) + ": validation loss " + std::to_string(r.loss));
    };
    events.sample = [&](const SampleReport& s) { print_sample(display, s); };
    events.stop = [&] { return interrupt.requested(); };
    return events;
}

void draw_losses(const std::filesystem::path& output) {
    const LogContent log = read_log(output / "log.jsonl");
    const std::filesystem::path folder = output.has_filename() ? output : output.parent_path();  // "out/"
    draw(curves_of(log.history, folder.filename().string())).save_png(output / "loss.png");
}

// The result is saved by now: a picture that cannot be drawn is no failure of the run.
void try_to_draw_losses(const TrainOptions& options, ProgressDisplay& display) {
    try {
        draw_losses(options.output);
    } catch (const std::exception& error) {
        warn(display, options.quiet, fmt::format("loss.png is not drawn: {}", error.what()));
    }
    std::error_code error;
    require(std::filesystem::exists(options.output, error) || error,
            "the output folder {} was removed after it was saved", options.output);
}

int show_lint(const TrainOptions& options, const Events& events) {
    const LintReport report = lint(options, events);
    if (options.json) std::cout << to_json(report).dump() << std::endl;
    else
        for (const std::string& line : describe(report)) std::cout << told(line) << '\n';
    return report.n_errors() > 0 ? 1 : 0;
}

int run(const Strings& args) {
    TrainOptions options;
    FlagTable flags = train_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    if (options.lint) return show_lint(options, events_to_stderr(options.quiet, interrupt));
    ProgressDisplay display(ProgressDisplay::style_for_stderr(options.quiet), options.log_every);
    Profile profile;
    const TrainResult result =
        run_training(options, events_for(display, interrupt, options.quiet), options.profile ? &profile : nullptr);
    display.finish();
    if (options.profile) std::cout << profile.table();
    if (options.plan || options.print_graph) return 0;
    if (result.saved) try_to_draw_losses(options, display);
    if (result.interrupted) {
        display.note(result.saved ? fmt::format("interrupted after {} updates; the checkpoint is saved, go on with "
                                                "--resume",
                                                result.steps)
                                  : "interrupted before the first update; there was nothing to save");
        return kInterruptedExitCode;
    }
    display.note("saved to " + options.output);
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
