// What a model is, in a few lines: sizes, types of its weights, tokenizer.
#pragma once

#include <string>
#include <vector>

#include "models/model.h"

namespace ggq {

std::vector<std::string> summary_of(const Model& model);

}  // namespace ggq
