// Several answers at a time: a slot of the generator for each, and the next prompt into a slot whose answer has ended.
#pragma once

#include <functional>
#include <vector>

#include "models/generate/generator.h"

namespace ggq {

struct Request {
    std::vector<int32_t> prompt;
    GenerationOptions options;
    std::function<bool(int32_t)> on_token = {};  // sees each new token; false ends the answer
    int64_t n_kept = 0;                          // tokens of the prompt that are in the slot's cache already
};

// Asks for the next request whenever a slot is free, until there is none; `done` gets the answers as they end. What a
// request gets does not depend on those beside it, to rounding. Throws Error as Generator::generate().
void generate_batch(Generator& generator, const std::function<const Request*()>& next,
                    const std::function<void(const Request&, Generation)>& done);

}  // namespace ggq
