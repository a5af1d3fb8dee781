// The programs of the project as a person runs them: by name, with arguments, signals and limits.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/temp_dir.h"

namespace ggq::test {

struct ProgramRun {
    int code = 0;  // exit code, or 128 + the signal that ended it
    std::string out, err;
};

// What a program is started with and without.
struct Limits {
    uint64_t largest_file = 0;               // bytes; a longer file cannot be written, as on a full disk; 0: no limit
    uint64_t most_memory = 0;                // bytes of data, stacks included; 0: no limit
    bool no_root = false;                    // root, who may write anywhere, becomes nobody
    std::vector<std::string> environment{};  // "NAME=value", beside what there is
    std::vector<int> closed{};               // streams, by number
    bool nobody_reads_err = false;           // stderr is a pipe whose other end is closed
    bool nobody_reads_out = false;           // stdout is
    std::string in{};                        // where stdin comes from; empty: as of the tests
    std::string out{};                       // where stdout goes; empty: into ProgramRun::out
    int ignored_signal = 0;
};

class Child {
public:
    Child(const std::string& program, const std::vector<std::string>& args, const Limits& limits = {});
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    // Until stderr holds `text`; false if the program ended or a minute passed before.
    bool wait_for(const std::string& text);
    void signal(int number) const;
    ProgramRun finish();

private:
    bool has_ended();

    TempDir dir_;
    pid_t id_ = -1;
    int status_ = 0;
    bool ended_ = false;
};

ProgramRun run_binary(const std::string& program, const std::vector<std::string>& args, const Limits& limits = {});

}  // namespace ggq::test
