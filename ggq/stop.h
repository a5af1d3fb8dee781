// Long work that can be ended from outside: it asks now and then, and throws Interrupted when the answer is yes.
// What asks leaves nothing behind that would have to be saved.
#pragma once

#include <exception>
#include <functional>

namespace ggq {

using StopAsked = std::function<bool()>;  // empty: never

class Interrupted : public std::exception {
public:
    const char* what() const noexcept override { return "interrupted"; }
};

inline void end_if_asked(const StopAsked& stop) {
    if (stop && stop()) throw Interrupted();
}

}  // namespace ggq
