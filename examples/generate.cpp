// generate: continues a prompt with a Llama, with or without a LoRA adapter.
//
//   build/bin/generate --model DIR --prompt TEXT [--adapter DIR]      (see --help)
//   build/bin/generate --model DIR --batch prompts.jsonl > answers.jsonl
//   build/bin/generate --model DIR --chat
//
// The text goes to stdout as it comes, to a terminal without what it would obey; all else goes to stderr.
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

#include "examples/support/events_to_stderr.h"
#include "examples/support/flag_words.h"
#include "examples/support/flags.h"
#include "examples/support/interrupt.h"
#include "examples/support/line_input.h"
#include "examples/support/run_program.h"
#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/generate/session.h"

namespace ggq {

namespace {

GenerateEvents events_for(bool quiet, const Interrupt& interrupt) {
    GenerateEvents events;
    static_cast<Events&>(events) = events_to_stderr(quiet, interrupt);
    // A file or a program gets the bytes of the answer, a terminal what it can show of them.
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    events.text = [terminal](const std::string& piece) {
        std::cout << (terminal ? printable(piece) : piece) << std::flush;
    };
    events.line = [terminal](const std::string& line) {  // JSON, whose control characters are escapes already
        std::cout << (terminal ? printable(line) : line) << std::endl;
    };
    events.print = [](const std::string& line) { std::cout << told(line) << '\n'; };
    events.stop = [&] { return interrupt.requested() || !std::cout.good(); };
    return events;
}

// Ctrl-C ends an answer, and the program where it waits for a line or loads the model.
void set_up_chat(GenerateEvents& events, LineInput& input, const Interrupt& interrupt, bool& begun) {
    const bool at_terminal = isatty(STDIN_FILENO) == 1;
    events.stop = [&] { return (interrupt.requested() && !(begun && interrupt.by_key())) || !std::cout.good(); };
    events.stop_answer = [&] { return interrupt.by_key(); };
    events.ask = [&events, &input, &interrupt, &begun, at_terminal] {
        begun = true;
        interrupt.dismiss();
        if (at_terminal) std::cerr << "> " << std::flush;
        auto line = input.next([&] { return interrupt.requested() || events.asked_to_stop(); });
        if (!line && at_terminal) std::cerr << '\n';
        return line;
    };
    if (at_terminal) events.tell("a conversation: /help says what can be entered; Ctrl-C stops an answer, /exit ends");
}

double rate(const GenerateResult& r) {
    return r.answer_seconds > 0 ? static_cast<double>(r.new_tokens) / r.answer_seconds : 0.0;
}

int run(const Strings& args) {
    GenerateOptions options;
    FlagTable flags = generate_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    Profile profile;
    GenerateEvents events = events_for(options.quiet, interrupt);
    LineInput input;
    bool begun = false;
    if (options.chat) set_up_chat(events, input, interrupt, begun);
    const GenerateResult r = run_generation(options, events, options.profile ? &profile : nullptr);
    if (options.plan) return 0;
    if (options.batch.empty() && !options.chat) std::cout << std::endl;
    if (!std::cout.good()) return 1;  // run_program() says why
    if (!options.quiet && options.chat)
        std::cerr << fmt::format("{} answers: {} prompt tokens run, {} new tokens\n", r.n_prompts, r.prompt_tokens,
                                 r.new_tokens);
    if (!options.quiet && !options.batch.empty())
        std::cerr << fmt::format("{} prompts of {} tokens, {} new tokens in {:.2f} s ({:.1f} tokens/s)\n", r.n_prompts,
                                 r.prompt_tokens, r.new_tokens, r.answer_seconds, rate(r));
    if (r.reason == StopReason::context)
        std::cerr << fmt::format("stopped: the context of {} tokens is full; {}\n", r.context,
                                 r.context < r.positions ? "raise --max-length for more" : "the model takes no more");
    if (!options.quiet && options.batch.empty() && !options.chat)
        std::cerr << fmt::format("{} prompt tokens in {:.2f} s, {} new tokens in {:.2f} s ({:.1f} tokens/s)\n",
                                 r.prompt_tokens, r.prompt_seconds, r.new_tokens, r.answer_seconds, rate(r));
    if (options.profile) std::cerr << profile.table();
    return interrupt.requested() ? kInterruptedExitCode : 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
