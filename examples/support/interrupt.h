// Ctrl-C and SIGTERM for a run that wants to save before it ends: the first one is remembered, the second ends the
// program at once with exit code 130. The old behaviour returns with the end of the object.
#pragma once

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

private:
    struct sigaction old_int_ {};
    struct sigaction old_term_ {};
};

}  // namespace ggq
