// Random initial values: functions of (seed, name of the tensor, element), whatever else is initialized before.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ggq {

std::vector<float> uniform_values(int64_t n_elems, float bound, uint64_t seed, const std::string& name);  // +-bound
std::vector<float> normal_values(int64_t n_elems, double deviation, uint64_t seed, const std::string& name);

}  // namespace ggq
