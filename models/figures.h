// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace ggq {

inline std::string thousands(int64_t n) {  // "1,234,567"
    std::string text = std::to_string(n);
    for (auto i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > 0; i -= 3)
        text.insert(static_cast<size_t>(i), 1, ',');
    return text;
}

inline double percent(int64_t part, int64_t whole) {  // 0 of nothing
    return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

inline double mebibytes(int64_t n_bytes) { return static_cast<double>(n_bytes) / (1 << 20); }

}  // namespace ggq
