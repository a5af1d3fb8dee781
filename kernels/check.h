// The two kinds of failure that are exceptions everywhere in ggq.
//
// ggq::Error          the caller's or the world's fault: a shape, a file, too little memory. The text is one
//                     sentence: what, expected, got, and what to do. Programs print it and exit with 1.
// ggq::InternalError  our own bug, found by GGQ_ASSERT, which stays on in release builds.
#pragma once

#include <stdexcept>
#include <string>

namespace ggq {

class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class InternalError : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

// Throws InternalError "file:line: expr (detail)". Callers with a literal build no string of their own: the code of one
// would be an inline function compiled for each instruction set.
[[noreturn]] void assertion_failed(const char* file, int line, const char* expr, const char* detail = "");
[[noreturn]] void assertion_failed(const char* file, int line, const char* expr, const std::string& detail);

}  // namespace ggq

// The optional second argument is a string expression with the values at fault; it is only evaluated on failure.
#define GGQ_ASSERT(cond, ...)                                                                       \
    do {                                                                                            \
        if (!(cond)) ::ggq::assertion_failed(__FILE__, __LINE__, #cond __VA_OPT__(, ) __VA_ARGS__); \
    } while (false)
