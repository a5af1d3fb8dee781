// A program at the terminal: what the progress display prints, and what signals do.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>

#include "examples/support/interrupt.h"
#include "examples/support/progress.h"
#include "examples/support/run_program.h"

using namespace ggq;

TEST_CASE("progress: times, sizes and rates") {
    CHECK(format_seconds(0) == "0:00");
    CHECK(format_seconds(59.7) == "1:00");
    CHECK(format_seconds(727) == "12:07");
    CHECK(format_seconds(3723) == "1:02:03");
    CHECK(format_seconds(std::nan("")) == "-:--");
    CHECK(format_seconds(-1) == "-:--");
    CHECK(format_bytes(812) == "812 B");
    CHECK(format_bytes(1536) == "1.50 KiB");
    CHECK(format_bytes(int64_t{120} << 20) == "120 MiB");
    CHECK(format_bytes((int64_t{1} << 30) - 1) == "1.00 GiB");
    CHECK(format_rate(87.31) == "87.3");
    CHECK(format_rate(1234) == "1234");
    CHECK(format_rate(12345) == "12.3k");
    CHECK(format_rate(4.56e6) == "4.56M");
}

TEST_CASE("progress: line and bar") {
    const Progress p{.step = 20,
                     .total = 100,
                     .loss = 1.23456,
                     .lr = 2e-4,
                     .grad_norm = 0.5123,
                     .tokens_per_second = 1234,
                     .seconds_left = 12,
                     .peak_bytes = int64_t{120} << 20};
    CHECK(progress_line(p) ==
          "step 20/100 | loss 1.2346 | lr 2.00e-04 | grad norm 0.512 | 1234 tokens/s | 0:12 left | peak 120 MiB");
    CHECK(progress_bar(p, 200) ==
          "[====>                   ]  20/100  loss 1.2346  0:12 left  1234 tokens/s  lr 2.00e-04  grad norm 0.512"
          "  peak 120 MiB");
    Progress shared = p;
    shared.share_of_ceiling = 0.553;
    CHECK(progress_line(shared) == progress_line(p) + " | 55 % of the ceiling");
    for (int width = 0; width < 130; ++width) CHECK(progress_bar(p, width).size() <= static_cast<size_t>(width));
    CHECK(progress_bar(p, 60) == "[====>                   ]  20/100  loss 1.2346  0:12 left");
    Progress done = p;
    done.step = 100;
    CHECK(progress_bar(done, 40) == "[========================] 100/100");
    CHECK(ProgressDisplay::style_for_stderr(true) == ProgressDisplay::Style::none);
}

TEST_CASE("interrupt: the first signal is remembered, the old behaviour comes back") {
    struct sigaction before {
    }, after{};
    sigaction(SIGTERM, nullptr, &before);
    {
        const Interrupt interrupt;
        CHECK_FALSE(interrupt.requested());
        std::raise(SIGTERM);
        CHECK(interrupt.requested());
    }
    sigaction(SIGTERM, nullptr, &after);
    CHECK(bool(before.sa_handler == after.sa_handler));
    const Interrupt again;
    CHECK_FALSE(again.requested());
}

TEST_CASE("interrupt: the second signal ends the program at once") {
    const pid_t child = fork();
    if (child == 0) {
        const Interrupt interrupt;
        std::raise(SIGINT);
        std::raise(SIGINT);
        _exit(1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == kInterruptedExitCode);
}
