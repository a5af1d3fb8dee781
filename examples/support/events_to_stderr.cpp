#include "examples/support/events_to_stderr.h"

#include <iostream>
#include <string>

#include "examples/support/flag_words.h"

namespace ggq {

Events events_to_stderr(bool quiet, const Interrupt& interrupt) {
    Events events;
    if (!quiet) events.note = [](const std::string& line) { std::cerr << told(line) << '\n'; };
    events.warning = [](const std::string& line) { std::cerr << "warning: " << told(line) << '\n'; };
    events.stop = [&interrupt] { return interrupt.requested(); };
    return events;
}

}  // namespace ggq
