// Lines of stdin for as long as there are any, without being deaf to signals while it waits.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace ggq {

class LineInput {
public:
    // Without its "\n". Nothing at the end of the input, or once `stop` says true.
    std::optional<std::string> next(const std::function<bool()>& stop);

private:
    std::string read_;  // and not given out yet
    bool ended_ = false;
};

}  // namespace ggq
