// A small network for tests of plan, recompute and program: embedding, three layers of attention with dropout and an
// MLP, head and loss, with the gradients of all its weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ggq/program.h"

namespace ggq::test {

class ThreeLayers {
public:
    static constexpr int64_t kTokens = 203, kChannels = 16, kHeads = 4, kKeyHeads = 2, kVocabulary = 23, kHidden = 40;
    static constexpr int kLayers = 3;

    explicit ThreeLayers(Backend& backend);

    Backend& backend() { return backend_; }
    Store& store() { return store_; }
    const std::shared_ptr<Graph>& graph() const { return graph_; }
    Tensor loss() const { return loss_; }
    const std::vector<Tensor>& gradients() const { return gradients_; }

    void page_weights();  // before store().allocate()
    void write_inputs();  // after store().allocate()

    // Loss and gradients of one run under a plan, each as bytes.
    std::vector<std::vector<std::byte>> run(const Plan& plan);
    const PageTraffic& traffic() const { return traffic_; }  // of the last run

private:
    Tensor weight(const std::string& name, const Shape& shape);
    Tensor layer(Tensor x, int number);

    Backend& backend_;
    Store store_;
    std::shared_ptr<Graph> graph_ = std::make_shared<Graph>();
    Buffer *ids_, *labels_, *positions_, *spans_, *frequencies_, *rng_;
    std::vector<Buffer*> weights_;
    std::vector<Tensor> params_, gradients_;
    Tensor loss_;
    PageTraffic traffic_;
};

}  // namespace ggq::test
