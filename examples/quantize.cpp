// quantize: a model folder once and for all: to the 4-bit layout of bitsandbytes, or to what that restores to.
//
//   build/bin/quantize --model DIR --output DIR [--quant nf4] [--as dequantized]      (see --help)
//
// The errors go to stdout, a line a weight, all else to stderr.
#include <fmt/format.h>

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "examples/support/events_to_stderr.h"
#include "examples/support/export_flags.h"
#include "examples/support/interrupt.h"
#include "examples/support/run_program.h"

namespace ggq {

namespace {

nlohmann::ordered_json as_json(const QuantizedWeight& w) {
    return {{"name", w.name},
            {"bits_a_weight", w.bits_a_weight()},
            {"largest_error", w.largest_error},
            {"rms_error", w.rms_error()},
            {"snr_db", std::isfinite(w.snr()) ? nlohmann::ordered_json(w.snr()) : nlohmann::ordered_json()}};
}

std::string as_json(const QuantizeResult& r) {
    nlohmann::ordered_json json = {{"bits_a_weight", r.bits_a_weight},
                                   {"weights", r.n_weights},
                                   {"plain_weights", r.n_plain},
                                   {"all", as_json(r.all)}};
    json["tensors"] = nlohmann::ordered_json::array();
    for (const QuantizedWeight& w : r.weights) json["tensors"].push_back(as_json(w));
    return json.dump();
}

std::string as_text(const std::string& name, const QuantizedWeight& w) {
    return fmt::format("{:<48} {:6.3f} bits  largest error {:.3e}  rms {:.3e}  SNR {:6.2f} dB", name, w.bits_a_weight(),
                       w.largest_error, w.rms_error(), w.snr());
}

std::string as_text(const QuantizeResult& r) {
    std::string text;
    for (const QuantizedWeight& w : r.weights) text += as_text(w.name, w) + "\n";
    return text + as_text("all of them", r.all) +
           fmt::format("\nthe whole model: {:.3f} bits a weight, {} of {} weights plain", r.bits_a_weight, r.n_plain,
                       r.n_weights);
}

int run(const Strings& args) {
    QuantizeOptions options;
    FlagTable flags = quantize_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const Interrupt interrupt;
    const QuantizeResult result = run_quantization(options, events_to_stderr(options.quiet, interrupt));
    std::cout << (options.json ? as_json(result) : as_text(result)) << std::endl;
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
