#include "examples/support/run_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <string_view>
#include <system_error>

#include "examples/support/cli.h"
#include "examples/support/flag_words.h"
#include "examples/support/interrupt.h"
#include "examples/support/stdout_buffer.h"
#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "ggq/stop.h"

namespace ggq {

namespace {

std::string program_name(const char* path) {
    const std::string name = std::filesystem::path(path).filename().string();
    return name.starts_with("ggq-") ? name.substr(4) : name;
}

// A stream that is closed would be the next file that is opened, and what is meant for a person would be written into
// it. For writing, what stands in its place fails as the closed one did.
void fill_closed_streams() {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream)
        if (fcntl(stream, F_GETFD) == -1 && errno == EBADF) open("/dev/null", O_RDONLY);
}

// A reader that went away and a file that may not grow are errors of a call then, which can be told and survived.
void ignore_deadly_signals() {
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

// With what is on the stack: there may be no memory. Nor does it throw where stderr goes to a full disk too.
void say(std::string_view program, std::string_view message) {
    const auto piece = [](std::string_view text) { return iovec{const_cast<char*>(text.data()), text.size()}; };
    const iovec line[] = {piece(program), piece(": "), piece(message), piece("\n")};
    [[maybe_unused]] const ssize_t ignored = writev(STDERR_FILENO, line, std::size(line));
}

int explain_failure(std::string_view program) {
    try {
        throw;
    } catch (const UsageError& error) {
        say(program, told(error.what()));
        return 2;
    } catch (const Interrupted&) {
        say(program, "interrupted");
        return kInterruptedExitCode;
    } catch (const std::bad_alloc&) {
        say(program, "out of memory");
    } catch (const Error& error) {
        say(program, told(error.what()));
    } catch (const std::filesystem::filesystem_error& error) {
        say(program, printable(fmt::format("{}: {}", error.path1().string(), error.code().message())));
    } catch (const std::system_error& error) {
        say(program, error.what());
    } catch (const std::exception& error) {
        say(program, printable(fmt::format("a bug in ggq, please report it: {}", error.what())));
    }
    return 1;
}

}  // namespace

int run_program(int argc, char** argv, const std::function<int(const std::vector<std::string>& args)>& body) {
    fill_closed_streams();
    ignore_deadly_signals();
    const std::string program = program_name(argc > 0 ? argv[0] : "ggq");
    try {
        StdoutBuffer to_stdout;
        const int code = body(Strings(argv + std::min(argc, 1), argv + argc));
        to_stdout.require_written();
        return code;
    } catch (...) {
        try {
            return explain_failure(program);
        } catch (const std::bad_alloc&) {
            say(program, "out of memory");
            return 1;
        }
    }
}

}  // namespace ggq
