// An end token that the checkpoint never learned, which a person should hear of before training on top of it.
#pragma once

#include <optional>
#include <string>

#include "models/model.h"

namespace ggq {

// The warning, if the end token's embedding has the same bits as that of another token (what was never seen keeps the
// value that all such tokens got) or is zero. Reads the embedding once, piece by piece.
std::optional<std::string> warn_of_untrained_end(const Model& model);

}  // namespace ggq
