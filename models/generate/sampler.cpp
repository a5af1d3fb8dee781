#include "models/generate/sampler.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace ggq {

namespace {

constexpr uint64_t kSamplingStream = 0x73616d706c65;

struct Candidate {
    int32_t id;
    double logit;
    double probability = 0;
};

bool likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

void penalize(std::vector<Candidate>& all, std::span<const int32_t> earlier, double penalty) {
    const size_t n = std::min(earlier.size(), static_cast<size_t>(kRepeatWindow));
    std::vector<int32_t> recent(earlier.end() - static_cast<std::ptrdiff_t>(n), earlier.end());
    std::ranges::sort(recent);
    recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
    for (int32_t id : recent) {
        double& logit = all[static_cast<size_t>(id)].logit;
        logit = logit > 0 ? logit / penalty : logit * penalty;
    }
}

// The likeliest k, sorted; all of them for k = 0.
void keep_top_k(std::vector<Candidate>& all, int64_t k) {
    const size_t n = k > 0 ? std::min(all.size(), static_cast<size_t>(k)) : all.size();
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n), all.end(), likelier);
    all.resize(n);
}

// Softmax of sorted candidates.
void set_probabilities(std::vector<Candidate>& sorted, double temperature) {
    double sum = 0;
    for (Candidate& c : sorted) sum += c.probability = std::exp((c.logit - sorted[0].logit) / temperature);
    for (Candidate& c : sorted) c.probability /= sum;
}

// The fewest of the likeliest whose probabilities reach p.
void keep_top_p(std::vector<Candidate>& sorted, double p) {
    double sum = 0;
    size_t n = 0;
    while (n < sorted.size() && sum < p) sum += sorted[n++].probability;
    sorted.resize(std::max<size_t>(n, 1));
}

void keep_min_p(std::vector<Candidate>& sorted, double min_p) {
    const double least = min_p * sorted[0].probability;
    std::erase_if(sorted, [&](const Candidate& c) { return c.probability < least; });
}

int32_t draw(const std::vector<Candidate>& candidates, double u) {
    double sum = 0;
    for (const Candidate& c : candidates) {
        sum += c.probability;
        if (u < sum) return c.id;
    }
    return candidates.back().id;
}

}  // namespace

int32_t sample(std::span<const float> logits, std::span<const int32_t> earlier, const SamplerOptions& options) {
    std::vector<Candidate> candidates;
    candidates.reserve(logits.size());
    for (float logit : logits) candidates.push_back({static_cast<int32_t>(candidates.size()), double{logit}});
    if (options.repeat_penalty != 1) penalize(candidates, earlier, options.repeat_penalty);
    if (options.temperature == 0) return std::ranges::min_element(candidates, likelier)->id;
    keep_top_k(candidates, options.top_k);
    set_probabilities(candidates, 1);
    if (options.top_p < 1) keep_top_p(candidates, options.top_p);
    if (options.min_p > 0) keep_min_p(candidates, options.min_p);
    set_probabilities(candidates, options.temperature);
    return draw(candidates,
                static_cast<double>(uniform(philox4x32(options.seed, kSamplingStream, earlier.size()).word[0])));
}

}  // namespace ggq
