// convert: an adapter into the form of another program, read again and compared.
//
//   build/bin/convert --adapter DIR --to mlx --output DIR      (see --help)
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

std::string as_json(const ConvertResult& r) {
    const nlohmann::ordered_json json = {{"from", option_text(kAdapterForms, r.from)},
                                         {"to", option_text(kAdapterForms, r.to)},
                                         {"modules", r.n_modules},
                                         {"largest_difference", r.distance}};
    return json.dump();
}

std::string as_text(const ConvertResult& r, const std::string& output) {
    return fmt::format(
        "{} modules from {} to {}, saved to {}; read again, {}", r.n_modules, option_text(kAdapterForms, r.from),
        option_text(kAdapterForms, r.to), told(output),
        r.distance == 0 ? "they are the same" : fmt::format("an element differs by {:.2g} of the largest", r.distance));
}

int run(const Strings& args) {
    ConvertOptions options;
    FlagTable flags = convert_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    const ConvertResult result = run_conversion(options, events_to_stderr(options.quiet, interrupt));
    std::cout << (options.json ? as_json(result) : as_text(result, options.output)) << std::endl;
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
