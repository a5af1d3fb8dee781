// fail() and require(): throw ggq::Error with a formatted sentence ("what: expected X, got Y; do Z").
#pragma once

#include <fmt/core.h>

#include "kernels/check.h"

namespace ggq {

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
    if (!ok) throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ggq
