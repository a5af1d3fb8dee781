// How far a quantized weight is from the one that it was.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace ggq {

struct QuantizedWeight {
    std::string name;
    int64_t n_elems = 0;
    int64_t n_bytes = 0;  // stored
    double largest_error = 0;
    double error_squares = 0, squares = 0;

    void add(std::span<const float> original, std::span<const float> restored);
    void add(const QuantizedWeight& other);

    double rms_error() const;
    double snr() const;  // 10 log10(squares / error squares), in dB; infinite without an error
    double bits_a_weight() const {
        return n_elems == 0 ? 0 : 8.0 * static_cast<double>(n_bytes) / static_cast<double>(n_elems);
    }
};

}  // namespace ggq
