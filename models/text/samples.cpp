#include "models/text/samples.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <optional>
#include <span>

#include "ggq/io/scratch_file.h"
#include "kernels/check.h"

namespace ggq {

namespace {

constexpr uint32_t kLossBit = uint32_t{1} << 31;
constexpr size_t kWrittenTogether = size_t{1} << 18;  // tokens

uint32_t word_of(const Sample& sample, size_t i) {
    return static_cast<uint32_t>(sample.ids[i]) | (sample.has_loss[i] != 0 ? kLossBit : 0);
}

}  // namespace

int64_t Sample::n_label_tokens() const { return std::accumulate(has_loss.begin(), has_loss.end(), int64_t{0}); }

struct TokenStore::Parts {
    uint64_t most_held;
    std::deque<uint32_t> held;
    std::optional<ScratchFile> file;    // what follows them
    std::vector<uint32_t> not_written;  // what follows that

    uint64_t in_file() const { return file ? file->n_bytes() / sizeof(uint32_t) : 0; }

    void put(uint32_t word) {
        if (held.size() < most_held) return held.push_back(word);
        not_written.push_back(word);
        if (not_written.size() < kWrittenTogether) return;
        if (!file) file.emplace();
        file->append(std::as_bytes(std::span(not_written)));
        not_written.clear();
    }

    void read(uint64_t begin, std::span<uint32_t> to) const {
        const uint64_t n_held = std::min<uint64_t>(begin < held.size() ? held.size() - begin : 0, to.size());
        std::copy_n(held.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(begin, held.size())), n_held,
                    to.begin());
        to = to.subspan(n_held);
        const uint64_t at = begin + n_held - std::min<uint64_t>(begin + n_held, held.size());
        const uint64_t n_file = std::min<uint64_t>(at < in_file() ? in_file() - at : 0, to.size());
        if (n_file > 0) file->read(at * sizeof(uint32_t), std::as_writable_bytes(to.first(n_file)));
        to = to.subspan(n_file);
        if (!to.empty())
            std::copy_n(not_written.begin() + static_cast<std::ptrdiff_t>(at + n_file - in_file()), to.size(),
                        to.begin());
    }
};

TokenStore::TokenStore(int64_t most_held) : parts_(std::make_unique<Parts>()) {
    parts_->most_held = static_cast<uint64_t>(most_held);
}

TokenStore::~TokenStore() = default;

uint64_t TokenStore::append(const Sample& sample) {
    GGQ_ASSERT(sample.ids.size() == sample.has_loss.size() && sample.ids.size() <= UINT32_MAX, "a sample's sizes");
    const uint64_t begin = parts_->held.size() + parts_->in_file() + parts_->not_written.size();
    for (size_t i = 0; i < sample.ids.size(); ++i) parts_->put(word_of(sample, i));
    return begin;
}

Sample TokenStore::read(uint64_t begin, uint32_t n_tokens) const {
    std::vector<uint32_t> words(n_tokens);
    parts_->read(begin, words);
    Sample sample;
    sample.ids.reserve(n_tokens);
    sample.has_loss.reserve(n_tokens);
    for (const uint32_t word : words) {
        sample.ids.push_back(static_cast<int32_t>(word & ~kLossBit));
        sample.has_loss.push_back((word & kLossBit) != 0 ? 1 : 0);
    }
    return sample;
}

Samples::Samples(const std::vector<Sample>& samples) {
    for (const Sample& sample : samples) push_back(sample);
}

void Samples::push_back(const Sample& sample) {
    if (store_ == nullptr) store_ = std::make_shared<TokenStore>();
    places_->push_back({store_->append(sample), static_cast<uint32_t>(sample.ids.size())});
}

}  // namespace ggq
