#include "tests/case_run.h"

#include <cmath>

#include "ggq/backward.h"
#include "ggq/ops.h"

namespace ggq::test {

namespace {

// The same r in every run of a case, for outputs of any shape.
CaseInput loss_weights(const Shape& shape, size_t output) {
    std::vector<double> r;
    for (int64_t i = 0; i < shape.n_elems(); ++i)
        r.push_back(static_cast<float>(0.5 + std::sin(1.7 * static_cast<double>(i) + static_cast<double>(output))));
    return real(shape, r);
}

}  // namespace

std::vector<size_t> CaseRun::wanted(const OpCase& c) {
    std::vector<size_t> indices;
    for (size_t i = 0; i < c.in.size(); ++i)
        if (c.in[i].gradient) indices.push_back(i);
    return indices;
}

CaseRun::CaseRun(const OpCase& c, Backend& backend, const RunOptions& options)
    : case_(c), backend_(backend), store_(backend), rounding_(options.rounding) {
    declare_inputs(options.real);
    std::vector<Tensor> inputs, params, outputs;
    for (Buffer* b : buffers_) inputs.push_back(graph_->bind(*b));
    for (int i = 0; i < options.times; ++i)
        for (Tensor t : (options.twin ? c.twin : c.build)(inputs)) outputs.push_back(t);
    for (size_t i : wanted(c)) params.push_back(inputs[i]);
    if (!params.empty()) add_loss(outputs);
    for (size_t i = 0; i < outputs.size(); ++i) add_result("output " + std::to_string(i), outputs[i]);
    if (options.gradients && !params.empty()) {
        const std::vector<Tensor> gradients = backward(loss_, params);
        for (size_t i = 0; i < gradients.size(); ++i)
            add_result("gradient " + std::to_string(wanted(c)[i]), gradients[i]);
    }
    program_ = std::make_unique<Program>(graph_, plan(*graph_, backend), case_.name);
    store_.allocate();
    arena_ = std::make_unique<Arena>(backend, program_->plan().arena_bytes);
    program_->bind(backend, *arena_);
}

void CaseRun::declare_inputs(DType real) {
    for (const CaseInput& in : case_.in) {
        TensorType type = in.type;
        if (in.real) type.dtype = in.stat && info(real).bytes < 4 ? DType::f32 : real;
        buffers_.push_back(&store_.declare("input " + std::to_string(buffers_.size()), in.kind, type));
    }
}

void CaseRun::add_loss(const std::vector<Tensor>& outputs) {
    for (Tensor out : outputs) {
        weights_.push_back(loss_weights(out.shape(), weights_.size()));
        weight_buffers_.push_back(&store_.declare("r", Kind::input, out.type()));
        const Tensor sum_of_out = sum(mul(out, graph_->bind(*weight_buffers_.back())));
        const Tensor term = info(out.dtype()).bytes < 4 ? cast(sum_of_out, DType::f32) : sum_of_out;
        loss_ = loss_ ? add(loss_, term) : term;
    }
    graph_->mark_output(loss_);
}

void CaseRun::add_result(std::string name, Tensor t) {
    const Tensor whole = contiguous(t);
    graph_->mark_output(whole);
    results_.emplace_back(std::move(name), whole);
}

std::vector<Result> CaseRun::run() {
    for (const CaseInput& in : case_.in)
        GGQ_ASSERT(static_cast<int64_t>(in.values.size()) == in.type.shape.n_elems(),
                   case_.name + ": draw_values first");
    for (size_t i = 0; i < buffers_.size(); ++i)
        store_.write(*buffers_[i], stored(rounded(case_.in[i], rounding_), buffers_[i]->type).data());
    for (size_t i = 0; i < weights_.size(); ++i)
        store_.write(*weight_buffers_[i], stored(rounded(weights_[i], rounding_), weight_buffers_[i]->type).data());
    program_->run();
    std::vector<Result> results;
    for (const auto& [name, t] : results_) {
        results.push_back({name, t.dtype(), std::vector<std::byte>(static_cast<size_t>(t.type().bytes()))});
        program_->read(t, results.back().bytes.data());
    }
    return results;
}

double CaseRun::loss_at(size_t input, size_t element, double value) {
    GGQ_ASSERT(buffers_[input]->type.dtype == DType::f64, "differences are taken in double");
    auto* at = static_cast<double*>(buffers_[input]->data) + element;
    const double before = *at;
    *at = value;
    program_->run();
    *at = before;
    return program_->read_scalar<double>(loss_);
}

std::vector<std::byte> run_once(Backend& backend, const std::string& name, const std::vector<HostInput>& inputs,
                                const std::function<Tensor(const std::vector<Tensor>& in)>& build) {
    Store store(backend);
    const auto graph = std::make_shared<Graph>();
    std::vector<const Buffer*> buffers;
    std::vector<Tensor> in;
    for (const HostInput& input : inputs) {
        buffers.push_back(&store.declare("input " + std::to_string(buffers.size()), Kind::input, input.type));
        in.push_back(graph->bind(*buffers.back()));
    }
    const Tensor result = build(in);
    graph->mark_output(result);
    Program program(graph, plan(*graph, backend), name);
    store.allocate();
    const Arena arena(backend, program.plan().arena_bytes);
    backend.zero(arena.data(), arena.bytes());  // padding between the parts of a quantized tensor
    program.bind(backend, arena);
    for (size_t i = 0; i < inputs.size(); ++i) store.write(*buffers[i], inputs[i].values);
    program.run();
    std::vector<std::byte> bytes(static_cast<size_t>(result.type().bytes()));
    program.read(result, bytes.data());
    return bytes;
}

}  // namespace ggq::test
