#include "models/initial_values.h"

#include <cmath>
#include <numbers>

#include "ggq/io/hash.h"
#include "kernels/philox.h"

namespace ggq {

namespace {

uint64_t stream_of(const std::string& name) {
    Hash64 hash;
    hash.update(name);
    return hash.value();
}

}  // namespace

std::vector<float> uniform_values(int64_t n_elems, float bound, uint64_t seed, const std::string& name) {
    const uint64_t stream = stream_of(name);
    std::vector<float> values(static_cast<size_t>(n_elems));
    for (size_t i = 0; i < values.size(); ++i)
        values[i] = (2 * uniform(philox4x32(seed, stream, i / 4).word[i % 4]) - 1) * bound;
    return values;
}

// Box-Muller, one value a draw.
std::vector<float> normal_values(int64_t n_elems, double deviation, uint64_t seed, const std::string& name) {
    const uint64_t stream = stream_of(name);
    std::vector<float> values(static_cast<size_t>(n_elems));
    for (size_t i = 0; i < values.size(); ++i) {
        const Philox4 random = philox4x32(seed, stream, i);
        const double u = 1 - static_cast<double>(uniform(random.word[0]));  // in (0, 1]
        const double angle = 2 * std::numbers::pi * static_cast<double>(uniform(random.word[1]));
        values[i] = static_cast<float>(deviation * std::sqrt(-2 * std::log(u)) * std::cos(angle));
    }
    return values;
}

}  // namespace ggq
