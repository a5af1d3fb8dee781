// Signals for a run that wants to save before it ends: Ctrl-C, SIGTERM, a terminal that goes away (SIGHUP) and a limit
// on processor time (SIGXCPU) are remembered; a second Ctrl-C or SIGTERM ends the program at once with exit code 130. A
// SIGHUP that is ignored, as under nohup, stays ignored. The old behaviour returns with the end of the object.
#pragma once

#include <array>
#include <csignal>

namespace ggq {

inline constexpr int kInterruptedExitCode = 130;

class Interrupt {
public:
    Interrupt();
    Interrupt(const Interrupt&) = delete;
    Interrupt& operator=(const Interrupt&) = delete;
    ~Interrupt();

    bool requested() const;

    // What was asked for by Ctrl-C alone, which stops less than the program: whether it was. dismiss() forgets it.
    bool by_key() const;
    void dismiss() const;

private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
    std::array<struct sigaction, kSignals.size()> old_{};
};

}  // namespace ggq
