// Where tests find their fixtures, and how they say aloud that a kind is absent.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace ggq::test {

// The root of the project's sources.
std::filesystem::path source_dir();

// Where the programs of examples/ are, for tests that run them.
std::filesystem::path bin_dir();

// The folder that holds golden/ and data/: the one named by the environment variable GGQ_FIXTURES, else ../shared
// beside the project, else the small subset in tests/fixtures. Throws if GGQ_FIXTURES names no folder.
std::optional<std::filesystem::path> fixtures();

// Counts a case that could not run and why ("golden/optim is absent"); the counts are printed at the end.
void skipped(const std::string& what);

// "2 cases skipped: golden/optim is absent (2)", or nothing if none was.
std::string skipped_summary();

}  // namespace ggq::test
