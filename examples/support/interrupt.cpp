#include "examples/support/interrupt.h"

#include <unistd.h>

namespace ggq {

namespace {

// A signal handler gets no pointer, so these are the variables of the project that belong to the whole process.
volatile std::sig_atomic_t requested_stop = 0;
volatile std::sig_atomic_t insisted = 0;  // by a person or the system's manager, who may ask twice

// Ctrl-C is not remembered where something graver was asked for.
void remember(int signal) {
    if (signal != SIGINT || requested_stop == 0) requested_stop = signal;
}

// Of a logout both SIGTERM and SIGHUP come: that is one wish.
void remember_or_end(int signal) {
    if (insisted != 0) _exit(kInterruptedExitCode);
    insisted = 1;
    remember(signal);
}

}  // namespace

Interrupt::Interrupt() {
    requested_stop = 0;
    insisted = 0;
    for (size_t i = 0; i < kSignals.size(); ++i) {
        const bool may_insist = kSignals[i] == SIGINT || kSignals[i] == SIGTERM;
        struct sigaction action {};
        action.sa_handler = may_insist ? remember_or_end : remember;
        action.sa_flags = SA_RESTART;  // a write in progress goes on
        sigemptyset(&action.sa_mask);
        sigaction(kSignals[i], &action, &old_[i]);
        if (kSignals[i] == SIGHUP && old_[i].sa_handler == SIG_IGN) sigaction(SIGHUP, &old_[i], nullptr);
    }
}

Interrupt::~Interrupt() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &old_[i], nullptr);
}

bool Interrupt::requested() const { return requested_stop != 0; }

bool Interrupt::by_key() const { return requested_stop == SIGINT; }

void Interrupt::dismiss() const {
    if (!by_key()) return;
    insisted = 0;
    requested_stop = 0;
}

}  // namespace ggq
