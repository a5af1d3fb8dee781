#include "ggq/layer_order.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace ggq {

std::vector<int32_t> layer_by_layer(const Graph& graph) {
    const std::vector<Step>& steps = graph.steps();
    int32_t n_layers = 0;
    for (const Step& step : steps) n_layers = std::max(n_layers, step.layer + 1);
    // What is outside of layers stands before the first (-1) or behind the last, as in its pass.
    std::vector<std::tuple<bool, int32_t, int32_t>> place;  // backward, layer in the order of the walk, pass
    int32_t pass = 0, layer = -1;
    bool backward = false;
    for (const Step& step : steps) {
        if (backward && !step.backward) {
            ++pass;
            layer = -1;
        }
        if (step.backward && !backward) layer = n_layers;
        backward = step.backward;
        if (step.layer >= 0) layer = step.layer;
        else if (!backward && layer >= 0) layer = n_layers;
        place.emplace_back(backward, backward ? -layer : layer, pass);
    }
    std::vector<int32_t> order(steps.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](int32_t i) { return place[static_cast<size_t>(i)]; });
    return order;
}

}  // namespace ggq
