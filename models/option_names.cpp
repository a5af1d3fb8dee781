#include "models/option_names.h"

#include <charconv>

namespace ggq {

namespace {

constexpr std::string_view kPartial = "partial:";

}  // namespace

std::optional<RecomputeChoice> find_recompute(std::string_view text) {
    if (!text.starts_with(kPartial)) {
        const auto preset = find_option(kRecomputes, text);
        return preset ? std::optional<RecomputeChoice>(*preset) : std::nullopt;
    }
    text.remove_prefix(kPartial.size());
    int32_t n_layers = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), n_layers);
    if (error != std::errc() || stop != text.data() + text.size() || n_layers < 0) return std::nullopt;
    return RecomputeChoice(Recompute::partial, n_layers);
}

std::string recompute_text(const RecomputeChoice& choice) {
    if (choice.preset == Recompute::partial) return std::string(kPartial) + std::to_string(choice.n_layers);
    return option_text(kRecomputes, choice.preset);
}

}  // namespace ggq
