// The Python scripts beside the tests, which compare with other people's programs.
#pragma once

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include "tests/fixtures.h"

namespace ggq::test {

// The exit code of a script of tests/; nothing where Python or what the script imports is missing.
inline std::optional<int> run_script(const char* name, const std::vector<std::filesystem::path>& arguments) {
    std::string command = fmt::format("python3 '{}'", (source_dir() / "tests" / name).string());
    for (const std::filesystem::path& argument : arguments) command += fmt::format(" '{}'", argument.string());
    const int status = std::system(command.c_str());
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 77 || code == 127) return std::nullopt;
    return code;
}

}  // namespace ggq::test
