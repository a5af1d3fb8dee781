// What the library wants a person to know while it works, a line each; the library itself prints nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace ggq {

struct Events {
    std::function<void(const std::string&)> note;     // a line to know; may be empty
    std::function<void(const std::string&)> warning;  // a line to heed; may be empty
    std::function<bool()> stop;                       // asked often: true ends the work; may be empty

    void tell(const std::string& line) const {
        if (note) note(line);
    }
    void tell(const std::vector<std::string>& lines) const {
        for (const std::string& line : lines) tell(line);
    }
    void warn(const std::string& line) const {
        if (warning) warning(line);
    }
    void warn(const std::vector<std::string>& lines) const {
        for (const std::string& line : lines) warn(line);
    }
    bool asked_to_stop() const { return stop && stop(); }
};

}  // namespace ggq
