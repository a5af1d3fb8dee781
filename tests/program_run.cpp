#include "tests/program_run.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/file_checks.h"
#include "tests/fixtures.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

constexpr auto kPatience = std::chrono::seconds(60);
constexpr auto kPause = std::chrono::milliseconds(5);
constexpr unsigned kNobody = 65534;

// Between fork and exec: only calls that a signal handler might make.
void limit(const Limits& limits) {
    if (limits.largest_file > 0) {
        const rlimit limit{limits.largest_file, limits.largest_file};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (limits.most_memory > 0) {
        const rlimit limit{limits.most_memory, limits.most_memory};
        setrlimit(RLIMIT_DATA, &limit);
    }
    if (limits.ignored_signal > 0) std::signal(limits.ignored_signal, SIG_IGN);
}

void become_pipe_without_reader(int stream) {
    int ends[2];
    if (pipe(ends) != 0) _exit(125);
    dup2(ends[1], stream);
    close(ends[0]);
}

void set_streams(const char* out, const char* err, const Limits& limits) {
    dup2(open(out, O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    dup2(open(err, O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    if (limits.nobody_reads_err) become_pipe_without_reader(STDERR_FILENO);
    if (limits.nobody_reads_out) become_pipe_without_reader(STDOUT_FILENO);
    if (!limits.in.empty()) dup2(open(limits.in.c_str(), O_RDONLY), STDIN_FILENO);
    for (const int stream : limits.closed) close(stream);
}

[[noreturn]] void become(const char* path, char* const* argv, char* const* environment, const char* out,
                         const char* err, const Limits& limits) {
    const int program = open(path, O_RDONLY | O_CLOEXEC);  // nobody may not reach it by its path
    set_streams(out, err, limits);
    limit(limits);
    if (limits.no_root && geteuid() == 0)
        if (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0) _exit(126);
    fexecve(program, argv, environment);
    _exit(127);
}

}  // namespace

Child::Child(const std::string& program, const std::vector<std::string>& args, const Limits& limits) {
    const std::string path = bin_dir() / program, err = dir_ / "err";
    const std::string out = limits.out.empty() ? dir_ / "out" : fs::path(limits.out);
    std::vector<char*> argv{const_cast<char*>(path.c_str())};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> environment;
    for (char** entry = environ; *entry; ++entry) environment.push_back(*entry);
    for (const std::string& entry : limits.environment) environment.push_back(const_cast<char*>(entry.c_str()));
    environment.push_back(nullptr);
    id_ = fork();
    if (id_ == 0) become(path.c_str(), argv.data(), environment.data(), out.c_str(), err.c_str(), limits);
    require(id_ > 0, "cannot start {}", path);
}

Child::~Child() {
    if (ended_) return;
    kill(id_, SIGKILL);
    waitpid(id_, &status_, 0);
}

bool Child::has_ended() {
    if (!ended_) ended_ = waitpid(id_, &status_, WNOHANG) == id_;
    return ended_;
}

bool Child::wait_for(const std::string& text) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (content_of(dir_ / "err").find(text) == std::string::npos) {
        if (has_ended() || std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(kPause);
    }
    return true;
}

void Child::signal(int number) const {
    if (!ended_) kill(id_, number);
}

ProgramRun Child::finish() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!has_ended() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kPause);
    require(ended_, "a program did not end within {} seconds", kPatience.count());
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    return {code, content_of(dir_ / "out"), content_of(dir_ / "err")};
}

ProgramRun run_binary(const std::string& program, const std::vector<std::string>& args, const Limits& limits) {
    return Child(program, args, limits).finish();
}

}  // namespace ggq::test
