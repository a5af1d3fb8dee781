#include "models/merge/rounding_loss.h"

#include <fmt/format.h>

#include <cmath>

namespace ggq {

namespace {

constexpr double kMostUnchanged = 0.5;

}  // namespace

void RoundingLoss::add(std::span<const float> base, std::span<const float> sum, std::span<const float> stored_base,
                       std::span<const float> stored_sum) {
    for (size_t i = 0; i < base.size(); ++i) {
        const double update = double{sum[i]} - double{base[i]}, error = double{stored_sum[i]} - double{sum[i]};
        update_squares += update * update;
        error_squares += error * error;
        n_updated += update != 0;
        n_unchanged += update != 0 && stored_sum[i] == stored_base[i];
    }
}

double RoundingLoss::error() const { return update_squares > 0 ? std::sqrt(error_squares / update_squares) : 0; }

double RoundingLoss::unchanged() const {
    return n_updated > 0 ? static_cast<double>(n_unchanged) / static_cast<double>(n_updated) : 0;
}

bool RoundingLoss::erases() const { return error() > 1 || unchanged() > kMostUnchanged; }

void RoundingSummary::add(const std::string& name, const RoundingLoss& loss) {
    ++n_weights;
    n_erased += loss.erases();
    if (!worst_name.empty() && loss.error() <= worst.error()) return;
    worst = loss;
    worst_name = name;
}

std::optional<std::string> RoundingSummary::warning(const std::string& stored) const {
    if (n_erased == 0) return std::nullopt;
    return fmt::format(
        "stored as {}, {} of {} merged weights lose what the adapter adds: in {} the rounding is {:.2f} times as large "
        "as the update, and {:.0f} % of its elements are as if there were no adapter; use a wider `dtype`, or keep the "
        "adapter beside the base",
        stored, n_erased, n_weights, worst_name, worst.error(), 100 * worst.unchanged());
}

}  // namespace ggq
