// What a program whose result goes to stdout tells meanwhile.
#pragma once

#include "examples/support/interrupt.h"
#include "models/events.h"

namespace ggq {

// A line each; of a quiet program the warnings only. A signal asks it to stop: `interrupt` must outlive the result.
Events events_to_stderr(bool quiet, const Interrupt& interrupt);

}  // namespace ggq
