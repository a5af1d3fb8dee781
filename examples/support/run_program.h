// What every program does around its body: streams and signals that must not end it without a word, and one line for
// whatever it throws.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace ggq {

// Runs a program's body and turns what it throws into one line "train: ..." on stderr and an exit code: 2 for a wrong
// command line, 130 for an interrupt, 1 for every other failure, a stdout that cannot be written among them.
int run_program(int argc, char** argv, const std::function<int(const std::vector<std::string>& args)>& body);

}  // namespace ggq
