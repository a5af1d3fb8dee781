// An update of made-up documents, for benches that train without data.
#pragma once

#include <utility>

#include "kernels/philox.h"
#include "models/text/batches.h"

namespace ggq::bench {

// One micro-batch of `rows` documents, packed, every token a label but the last of a document.
inline Update random_update(int64_t rows, int64_t length, int64_t vocabulary) {
    MicroBatch batch;
    for (int64_t t = 0; t < rows * length; ++t) {
        const int64_t at = t % length;
        const auto token = [&](int64_t i) {
            return static_cast<int32_t>(philox4x32(1, 0, static_cast<uint64_t>(i)).word[0] %
                                        static_cast<uint32_t>(vocabulary));
        };
        batch.ids.push_back(token(t));
        batch.labels.push_back(at + 1 < length ? token(t + 1) : kIgnoredLabel);
        batch.positions.push_back(static_cast<int32_t>(at));
        batch.spans.push_back(static_cast<int32_t>(t - at));
        batch.spans.push_back(static_cast<int32_t>(t + 1));
        batch.label_tokens += at + 1 < length;
    }
    batch.n_tokens = batch.length();
    const int64_t labels = batch.label_tokens, n = batch.n_tokens;
    return {{std::move(batch)}, rows, n, labels};
}

}  // namespace ggq::bench
