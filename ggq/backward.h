// Reverse-mode gradients: backward() walks a graph's steps from the last to the first and lets each op's row emit the
// steps of its gradient.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ggq/graph.h"

namespace ggq {

// What an op's gradient rule sees of one call.
class Gradients {
public:
    const Step& step() const { return *step_; }
    Tensor in(int i) const { return {graph_, step_->in[static_cast<size_t>(i)]}; }
    Tensor out(int i) const { return {graph_, step_->out[static_cast<size_t>(i)]}; }
    // The gradient of an output, zeros if none reached it. backward() refuses a call whose rule does not ask for every
    // output that a gradient has reached, or does not set every input that needs one.
    Tensor dy(int i = 0);
    bool needs(int i) const;           // is a gradient of input i wanted
    void set(int i, Tensor gradient);  // adds to what input i has already
    // For ops that add by themselves: what input i has already, empty if nothing; and its gradient with that in it.
    Tensor so_far(int i) const;
    void set_total(int i, Tensor gradient);
    Graph& graph() const { return *graph_; }

    template <typename P>
    const P& param() const {
        return step_->params.as<P>();
    }

private:
    friend class BackwardWalk;

    Gradients(Graph& graph, const Step& step, const std::vector<bool>& wanted, std::vector<Tensor>& gradients)
        : graph_(&graph),
          step_(&step),
          wanted_(&wanted),
          gradients_(&gradients),
          taken_(step.out.size()),
          set_(step.in.size()) {}
    void check_complete() const;

    Graph* graph_;
    const Step* step_;
    const std::vector<bool>* wanted_;
    std::vector<Tensor>* gradients_;  // by value id
    std::vector<bool> taken_, set_;   // by output, by input
};

// The rule for input 0 of a product with a frozen weight, input 1, as gradient 0 goes into it (ops/quant_matmul.cpp).
void set_linear_input_gradient(Gradients& g);

// Appends the gradient of the scalar `loss` [1] with respect to each of `params`; what they are made of gets none.
// `sink(parts)` is called when gradients are there, a part for each use of a parameter, so that steps which use them up
// (accumulate) come before the gradients of earlier layers exist: with those of a layer at once, each of another
// parameter, but sooner where they weigh more than kHeldBackBytes. A graph may hold several passes, each built and then
// differentiated; they share only what is persistent. Throws Error if a parameter does not reach the loss, or an op on
// the way has no gradient.
struct GradientPart {
    size_t param = 0;  // its number among params
    Tensor gradient;
};
using GradientSink = std::function<void(std::span<const GradientPart>)>;
inline constexpr int64_t kHeldBackBytes = int64_t{16} << 20;
void backward(Tensor loss, std::span<const Tensor> params, const GradientSink& sink);

// The same, all gradients at the end.
std::vector<Tensor> backward(Tensor loss, std::span<const Tensor> params);

}  // namespace ggq
