#include "models/quantize/quantization_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ggq {

void QuantizedWeight::add(std::span<const float> original, std::span<const float> restored) {
    for (size_t i = 0; i < original.size(); ++i) {
        const double x = original[i], error = double{restored[i]} - x;
        squares += x * x;
        error_squares += error * error;
        largest_error = std::max(largest_error, std::abs(error));
    }
    n_elems += std::ssize(original);
}

void QuantizedWeight::add(const QuantizedWeight& other) {
    n_elems += other.n_elems;
    n_bytes += other.n_bytes;
    largest_error = std::max(largest_error, other.largest_error);
    error_squares += other.error_squares;
    squares += other.squares;
}

double QuantizedWeight::rms_error() const {
    return n_elems == 0 ? 0 : std::sqrt(error_squares / static_cast<double>(n_elems));
}

double QuantizedWeight::snr() const {
    return error_squares > 0 ? 10 * std::log10(squares / error_squares) : std::numeric_limits<double>::infinity();
}

}  // namespace ggq
