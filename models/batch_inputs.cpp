#include "models/batch_inputs.h"

namespace ggq {

BatchInputs::BatchInputs(Store& store, int64_t longest) : store_(store) {
    const auto tokens = [&](const char* name, const Shape& shape) {
        return &store.declare(name, Kind::input, {DType::i32, shape, {}});
    };
    whole_ = {tokens("ids", {longest}), tokens("labels", {longest}), tokens("positions", {longest}),
              tokens("spans", {longest, 2})};
    rng_ = &store.declare("rng", Kind::input, {DType::i64, {2}, {}});
}

const BatchInputs::Tokens& BatchInputs::of(int64_t length) {
    if (const auto known = parts_.find(length); known != parts_.end()) return known->second;
    const auto part = [&](Buffer* whole, const Shape& shape) { return &store_.slice(*whole, whole->name, 0, shape); };
    return parts_[length] = {part(whole_.ids, {length}), part(whole_.labels, {length}),
                             part(whole_.positions, {length}), part(whole_.spans, {length, 2})};
}

LlamaInputs BatchInputs::bind(Graph& graph, int64_t length) {
    const Tokens& t = of(length);
    return {graph.bind(*t.ids), graph.bind(*t.positions), graph.bind(*t.spans), graph.bind(*rng_)};
}

Tensor BatchInputs::bind_labels(Graph& graph, int64_t length) { return graph.bind(*of(length).labels); }

void BatchInputs::write(const MicroBatch& batch, uint64_t seed, int64_t counter) {
    const Tokens& t = parts_.at(batch.length());
    store_.write(*t.ids, batch.ids.data());
    store_.write(*t.labels, batch.labels.data());
    store_.write(*t.positions, batch.positions.data());
    store_.write(*t.spans, batch.spans.data());
    const int64_t rng[2] = {static_cast<int64_t>(seed), counter};
    store_.write(*rng_, rng);
}

}  // namespace ggq
