#include "ggq/backward.h"

#include <algorithm>
#include <map>

#include "ggq/error.h"
#include "ggq/ops.h"

namespace ggq {

namespace {

std::string place(const Graph& graph, const Step& step) {
    const std::string& where = graph.scope_of(step);
    return fmt::format("[{}]{}{}", step.op->name, where.empty() ? "" : " ", where);
}

}  // namespace

Tensor Gradients::dy(int i) {
    taken_[static_cast<size_t>(i)] = true;
    Tensor& gradient = (*gradients_)[static_cast<size_t>(out(i).id)];
    if (!gradient) gradient = full(*graph_, out(i).type(), 0);
    return gradient;
}

bool Gradients::needs(int i) const { return (*wanted_)[static_cast<size_t>(in(i).id)]; }

void Gradients::set(int i, Tensor gradient) {
    const Tensor input = in(i);
    GGQ_ASSERT(gradient.shape() == input.shape(), std::string(step_->op->name) + ": gradient of another shape");
    set_[static_cast<size_t>(i)] = true;
    Tensor& sum = (*gradients_)[static_cast<size_t>(input.id)];
    sum = sum ? add(sum, gradient) : gradient;
}

Tensor Gradients::so_far(int i) const { return (*gradients_)[static_cast<size_t>(in(i).id)]; }

void Gradients::set_total(int i, Tensor gradient) {
    (*gradients_)[static_cast<size_t>(in(i).id)] = {};
    set(i, gradient);
}

void Gradients::check_complete() const {
    const Signature signature = parse_signature(*step_->op, std::ssize(step_->in));
    for (size_t i = 0; i < taken_.size(); ++i)
        require(taken_[i] || !(*gradients_)[static_cast<size_t>(step_->out[i])],
                "{} output {}: a gradient reaches it, but this op passes on none of it", place(*graph_, *step_),
                signature.out[i].name);
    for (size_t i = 0; i < set_.size(); ++i) {
        const Tensor input = in(static_cast<int>(i));
        const std::string& name = input.name();
        require(set_[i] || !needs(static_cast<int>(i)), "{} input {}: a gradient{} is wanted, but this op gives none",
                place(*graph_, *step_), signature.in[i].name, name.empty() ? "" : " of '" + name + "'");
    }
}

class BackwardScope {
public:
    explicit BackwardScope(Graph& graph) : graph_(graph) { graph_.backward_ = true; }
    ~BackwardScope() { graph_.backward_ = false; }
    BackwardScope(const BackwardScope&) = delete;
    BackwardScope& operator=(const BackwardScope&) = delete;

private:
    Graph& graph_;
};

class BackwardWalk {
public:
    BackwardWalk(Tensor loss, std::span<const Tensor> params, const GradientSink& sink)
        : graph_(*loss.graph), params_(params), sink_(sink), reached_(params.size()) {
        for (size_t p = 0; p < params_.size(); ++p) param_of_[params_[p].id] = p;
        mark_wanted();
    }

    void run(Tensor loss) {
        const BackwardScope scope(graph_);
        size_t n_left = graph_.steps().size();
        gradients_.resize(graph_.values().size());
        gradients_[static_cast<size_t>(loss.id)] = full(graph_, loss.type(), 1.0);
        while (n_left > 0) visit(--n_left);
        hand_over();
        for (size_t p = 0; p < params_.size(); ++p)
            require(reached_[p], "backward: parameter '{}' does not reach the loss", params_[p].name());
    }

private:
    // Values that depend on a parameter.
    void mark_wanted() {
        wanted_.resize(graph_.values().size());
        for (Tensor p : params_) wanted_[static_cast<size_t>(p.id)] = true;
        for (const Step& step : graph_.steps())
            for (int32_t id : step.in)
                if (wanted_[static_cast<size_t>(id)])
                    for (int32_t out : step.out) wanted_[static_cast<size_t>(out)] = true;
    }

    void visit(size_t i) {
        const Step step = graph_.steps()[i];  // a copy: the rule appends steps
        const auto reached = [&](int32_t id) { return static_cast<bool>(gradients_[static_cast<size_t>(id)]); };
        const auto wanted = [&](int32_t id) { return static_cast<bool>(wanted_[static_cast<size_t>(id)]); };
        if (std::ranges::none_of(step.out, reached) || std::ranges::none_of(step.in, wanted)) return;
        require(step.op->gradient != nullptr, "{}: this op has no gradient", place(graph_, step));
        if (step.layer != held_layer_) hand_over();
        const LayerScope scope(graph_, graph_.scope_of(step), step.layer);
        Gradients g(graph_, step, wanted_, gradients_);
        step.op->gradient(g);
        g.check_complete();
        deliver(step);
    }

    // A parameter's part goes with others of its layer, so that none is kept for another that comes much later.
    void deliver(const Step& step) {
        for (int32_t id : step.in) {
            const auto param = param_of_.find(id);
            Tensor& gradient = gradients_[static_cast<size_t>(id)];
            if (param == param_of_.end() || !gradient) continue;
            hold(step, {param->second, gradient});
            gradient = {};
        }
    }

    void hold(const Step& step, const GradientPart& part) {
        if (std::ranges::find(held_, part.param, &GradientPart::param) != held_.end()) hand_over();
        reached_[part.param] = true;
        held_.push_back(part);
        held_bytes_ += part.gradient.type().bytes();
        held_layer_ = step.layer;
        held_scope_ = graph_.scope_of(step);
        if (held_bytes_ > kHeldBackBytes) hand_over();
    }

    void hand_over() {
        if (held_.empty()) return;
        const LayerScope scope(graph_, held_scope_, held_layer_);
        sink_(held_);
        held_.clear();
        held_bytes_ = 0;
    }

    Graph& graph_;
    std::span<const Tensor> params_;
    const GradientSink& sink_;
    std::map<int32_t, size_t> param_of_;  // by value id
    std::vector<bool> reached_;           // by parameter
    std::vector<bool> wanted_;            // by value id
    std::vector<Tensor> gradients_;       // by value id
    std::vector<GradientPart> held_;      // of one layer, not handed over yet
    int64_t held_bytes_ = 0;
    int32_t held_layer_ = -1;
    std::string held_scope_;  // of the last of them
};

void backward(Tensor loss, std::span<const Tensor> params, const GradientSink& sink) {
    require(loss.shape() == Shape{1}, "backward: expected a loss of shape [1], got {}", to_string(loss.shape()));
    BackwardWalk(loss, params, sink).run(loss);
}

std::vector<Tensor> backward(Tensor loss, std::span<const Tensor> params) {
    std::vector<Tensor> gradients(params.size());
    backward(loss, params, [&](std::span<const GradientPart> parts) {
        for (const GradientPart& part : parts) {
            Tensor& sum = gradients[part.param];
            sum = sum ? add(sum, part.gradient) : part.gradient;
        }
    });
    return gradients;
}

}  // namespace ggq
