// How much of what an adapter adds is left when the sum is stored in fewer bits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace ggq {

// Of one weight.
struct RoundingLoss {
    double update_squares = 0;  // of what adapters add
    double error_squares = 0;   // of stored - sum
    int64_t n_updated = 0;      // elements that adapters change
    int64_t n_unchanged = 0;    // of those, stored as if they did not

    // The elements of base, sum, and both as they are stored.
    void add(std::span<const float> base, std::span<const float> sum, std::span<const float> stored_base,
             std::span<const float> stored_sum);
    double error() const;      // relative to the update; 1: as large as it
    double unchanged() const;  // share of the updated elements
    bool erases() const;       // the error is larger than the update, or most of it is not there
};

// Of all weights that adapters change.
struct RoundingSummary {
    int64_t n_weights = 0, n_erased = 0;
    RoundingLoss worst;
    std::string worst_name;

    void add(const std::string& name, const RoundingLoss& loss);
    // What to heed, where updates are erased. `stored`: "bf16".
    std::optional<std::string> warning(const std::string& stored) const;
};

}  // namespace ggq
