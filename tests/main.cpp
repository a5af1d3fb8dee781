// The main of ggq-tests: doctest's own, and after it a line that says how many cases were skipped and why.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/core.h>

#include "tests/fixtures.h"

int main(int argc, char** argv) {
    doctest::Context context(argc, argv);
    const int result = context.run();
    const std::string skipped = ggq::test::skipped_summary();
    if (!skipped.empty()) fmt::print("{}\n", skipped);
    return result;
}
