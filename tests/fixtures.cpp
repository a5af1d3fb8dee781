#include "tests/fixtures.h"

#include <cstdlib>
#include <map>

#include "ggq/error.h"

namespace ggq::test {

namespace fs = std::filesystem;

namespace {

std::map<std::string, int>& skipped_counts() {
    static std::map<std::string, int> counts;
    return counts;
}

}  // namespace

fs::path source_dir() { return GGQ_SOURCE_DIR; }

fs::path bin_dir() { return GGQ_BIN_DIR; }

std::optional<fs::path> fixtures() {
    if (const char* named = std::getenv("GGQ_FIXTURES"); named && *named) {
        require(fs::is_directory(named), "GGQ_FIXTURES: expected a folder, got '{}'", named);
        return named;
    }
    for (const fs::path& root : {source_dir() / "../shared", source_dir() / "tests/fixtures"})
        if (fs::is_directory(root / "golden")) return root;
    return std::nullopt;
}

void skipped(const std::string& what) { ++skipped_counts()[what]; }

std::string skipped_summary() {
    int total = 0;
    std::string list;
    for (const auto& [what, count] : skipped_counts()) {
        total += count;
        list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", what, count);
    }
    return total == 0 ? "" : fmt::format("{} cases skipped: {}", total, list);
}

}  // namespace ggq::test
