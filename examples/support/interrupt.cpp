#include "examples/support/interrupt.h"

#include <unistd.h>

namespace ggq {

namespace {

// A signal handler gets no pointer, so this is the one variable of the project that belongs to the whole process.
volatile std::sig_atomic_t requested_signals = 0;

void remember(int) {
    if (requested_signals != 0) _exit(kInterruptedExitCode);
    requested_signals = 1;
}

}  // namespace

Interrupt::Interrupt() {
    requested_signals = 0;
    struct sigaction action {};
    action.sa_handler = remember;
    action.sa_flags = SA_RESTART;  // a write in progress goes on
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &old_int_);
    sigaction(SIGTERM, &action, &old_term_);
}

Interrupt::~Interrupt() {
    sigaction(SIGINT, &old_int_, nullptr);
    sigaction(SIGTERM, &old_term_, nullptr);
}

bool Interrupt::requested() const { return requested_signals != 0; }

}  // namespace ggq
