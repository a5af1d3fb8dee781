// Tokens that the checkpoint never learned, which a person should hear of before training on top of it: the end token,
// or those that a chat template writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"

namespace ggq {

// The warning, if the end token's embedding has the same bits as that of another token (what was never seen keeps the
// value that all such tokens got) or is zero. Reads the embedding once, piece by piece.
std::optional<std::string> warn_of_untrained_end(const Model& model);

struct UntrainedToken {
    int32_t id;
    std::string why;  // "is zero", "equals that of 3 other tokens, ..."
};

// Those of `ids` whose row of the embedding is so. Reads the embedding once, piece by piece.
std::vector<UntrainedToken> untrained_tokens(const Model& model, const std::vector<int32_t>& ids);

}  // namespace ggq
