#include "tests/three_layers.h"

#include "ggq/backward.h"
#include "ggq/ops.h"
#include "tests/case_inputs.h"

namespace ggq::test {

ThreeLayers::ThreeLayers(Backend& backend) : backend_(backend), store_(backend) {
    const auto input = [&](const char* name, DType dtype, const Shape& shape) {
        return &store_.declare(name, Kind::input, {dtype, shape, {}});
    };
    ids_ = input("ids", DType::i32, {kTokens});
    labels_ = input("labels", DType::i32, {kTokens});
    positions_ = input("positions", DType::i32, {kTokens});
    spans_ = input("spans", DType::i32, {kTokens, 2});
    frequencies_ = input("frequencies", DType::f32, {kChannels / kHeads / 2});
    rng_ = input("rng", DType::i64, {2});

    const Tensor table = weight("table", {kVocabulary, kChannels});
    Tensor x = embedding(table, graph_->bind(*ids_));
    for (int i = 0; i < kLayers; ++i) x = layer(x, i);
    const Tensor y = rms_norm(x, weight("norm", {kChannels}), 1e-5f);
    const Tensor head = weight("head", {kVocabulary, kChannels});
    loss_ = linear_cross_entropy(y, head, graph_->bind(*labels_), HeadGradient::input_and_weight, 4);
    gradients_ = backward(loss_, params_);
    graph_->mark_output(loss_);
    for (Tensor& g : gradients_) graph_->mark_output(g = contiguous(g));
}

Tensor ThreeLayers::weight(const std::string& name, const Shape& shape) {
    weights_.push_back(&store_.declare(name, Kind::parameter, {DType::f32, shape, {}}));
    params_.push_back(graph_->bind(*weights_.back()));
    return params_.back();
}

Tensor ThreeLayers::layer(Tensor x, int number) {
    const std::string name = "layers." + std::to_string(number);
    const LayerScope scope(*graph_, name, number);
    constexpr int64_t kSize = kChannels / kHeads;
    const Tensor positions = graph_->bind(*positions_), frequencies = graph_->bind(*frequencies_);
    const Tensor h = rms_norm(x, weight(name + ".norm", {kChannels}), 1e-5f);
    const Tensor qkv = reshape(matmul(h, weight(name + ".qkv", {(kHeads + 2 * kKeyHeads) * kSize, kChannels})),
                               {kTokens, kHeads + 2 * kKeyHeads, kSize});
    const auto [q, k] =
        rope(slice(qkv, 1, 0, kHeads), slice(qkv, 1, kHeads, kHeads + kKeyHeads), positions, frequencies);
    const Tensor v = slice(qkv, 1, kHeads + kKeyHeads, kHeads + 2 * kKeyHeads);
    const Tensor seen = reshape(attention(q, k, v, graph_->bind(*spans_), 0.5f), {kTokens, kChannels});
    const DropoutParams dropped{0.25f, static_cast<uint32_t>(number)};
    x = add(x, matmul(dropout(seen, graph_->bind(*rng_), dropped), weight(name + ".out", {kChannels, kChannels})));
    const Tensor m = rms_norm(x, weight(name + ".mlp_norm", {kChannels}), 1e-5f);
    const Tensor gate = matmul(m, weight(name + ".gate", {kHidden, kChannels}));
    const Tensor up = matmul(m, weight(name + ".up", {kHidden, kChannels}));
    return add(x, matmul(swiglu(gate, up), weight(name + ".down", {kChannels, kHidden})));
}

void ThreeLayers::page_weights() {
    for (Buffer* w : weights_) store_.set_residence(*w, Residence::paged);
}

void ThreeLayers::write_inputs() {
    const auto write = [&](const Buffer& b, std::vector<double> values) {
        CaseInput in;
        in.values = std::move(values);
        store_.write(b, stored(in, b.type).data());
    };
    std::vector<double> ids, labels, positions, spans;
    for (int t = 0; t < kTokens; ++t) {
        const int first = t < 71 ? 0 : 71;
        ids.push_back(t * 7 % kVocabulary);
        labels.push_back(t % 4 == 0 ? kIgnoredLabel : t * 5 % kVocabulary);
        positions.push_back(t - first);
        spans.insert(spans.end(), {static_cast<double>(first), static_cast<double>(t + 1)});
    }
    write(*ids_, ids);
    write(*labels_, labels);
    write(*positions_, positions);
    write(*spans_, spans);
    write(*frequencies_, {1, 0.125});
    write(*rng_, {42, 1});
    uint64_t n = 0;
    for (const Buffer* w : weights_) {
        std::vector<double> values(static_cast<size_t>(w->type.shape.n_elems()));
        for (double& v : values) v = static_cast<double>(++n * 2654435761 % 1000) / 1000 - 0.45;
        write(*w, values);
    }
}

std::vector<std::vector<std::byte>> ThreeLayers::run(const Plan& plan) {
    Program program(graph_, plan);
    const Arena arena(backend_, plan.arena_bytes, plan.host_bytes);
    program.bind(backend_, arena);
    program.run();
    traffic_ = program.traffic();
    std::vector<std::vector<std::byte>> results;
    const auto read = [&](Tensor t) {
        results.emplace_back(static_cast<size_t>(t.type().bytes()));
        program.read(t, results.back().data());
    };
    read(loss_);
    for (Tensor g : gradients_) read(g);
    return results;
}

}  // namespace ggq::test
