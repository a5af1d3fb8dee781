#include "kernels/check.h"

namespace ggq {

void assertion_failed(const char* file, int line, const char* expr, const char* detail) {
    assertion_failed(file, line, expr, std::string(detail));
}

void assertion_failed(const char* file, int line, const char* expr, const std::string& detail) {
    std::string text = std::string(file) + ":" + std::to_string(line) + ": internal error: " + expr;
    if (!detail.empty()) text += " (" + detail + ")";
    throw InternalError(text);
}

}  // namespace ggq
