#include "models/train/parameters.h"

#include "ggq/error.h"
#include "kernels/code_maps.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

// Every tensor begins with a block of 8-bit state, whatever state it has.
int64_t padded(int64_t n_elems) { return round_up(n_elems, kStateBlock); }

}  // namespace

ParameterSet::ParameterSet(Store& store, const std::vector<TrainedTensor>& tensors, DType master,
                           const OptimizerChoice& choice)
    : choice_(choice) {
    require(!tensors.empty(), "no tensor to train");
    int64_t total = 0;
    for (const TrainedTensor& t : tensors) total += padded(t.shape.n_elems());
    masters_ = &store.declare("parameters", Kind::parameter, {master, {total}, {}});
    gradients_ = &store.declare("gradients", Kind::state, {DType::f32, {total}, {}});
    int64_t next = 0;
    for (bool eight_bit : {true, false})
        for (bool decays : {true, false}) add_range(store, tensors, eight_bit, decays, next);
}

void ParameterSet::add_range(Store& store, const std::vector<TrainedTensor>& tensors, bool eight_bit, bool decays,
                             int64_t& next) {
    const int64_t first = next;
    for (const TrainedTensor& t : tensors) {
        const int64_t n = t.shape.n_elems();
        if (t.decays != decays || (choice_.eight_bit && n >= choice_.min_8bit_size) != eight_bit) continue;
        TrainedParameter p{t, &store.slice(*masters_, t.name, next, t.shape),
                           &store.slice(*gradients_, t.name + ".gradient", next, t.shape)};
        by_name_[t.name] = p.param;
        parameters_.push_back(std::move(p));
        next += padded(n);
    }
    const int64_t n = next - first;
    if (n == 0) return;
    const std::string suffix = "." + std::to_string(ranges_.size());
    ParameterRange range{eight_bit, decays, first, n};
    range.param = &store.slice(*masters_, "parameters" + suffix, first, {n});
    range.gradient = &store.slice(*gradients_, "gradients" + suffix, first, {n});
    const DType dtype = eight_bit ? DType::u8 : DType::f32;
    range.m = &store.declare("m" + suffix, Kind::state, {dtype, {n}, {}});
    range.v = &store.declare("v" + suffix, Kind::state, {dtype, {n}, {}});
    if (eight_bit) {
        range.m_scale = &store.declare("m_scale" + suffix, Kind::state, {DType::f32, {n / kStateBlock}, {}});
        range.v_scale = &store.declare("v_scale" + suffix, Kind::state, {DType::f32, {n / kStateBlock}, {}});
    }
    ranges_.push_back(range);
}

const Buffer& ParameterSet::gradient_of(const Buffer& param) const {
    for (const TrainedParameter& p : parameters_)
        if (p.param == &param) return *p.gradient;
    GGQ_ASSERT(false, param.name + " is not trained");
    return *gradients_;
}

int64_t ParameterSet::n_trained() const {
    int64_t n = 0;
    for (const TrainedParameter& p : parameters_) n += p.tensor.shape.n_elems();
    return n;
}

std::map<std::string, Buffer*> ParameterSet::state() const {
    std::map<std::string, Buffer*> buffers;
    for (const ParameterRange& r : ranges_)
        for (Buffer* b : {r.m, r.v, r.m_scale, r.v_scale})
            if (b) buffers[b->name] = b;
    return buffers;
}

int64_t ParameterSet::state_bytes() const {
    int64_t n_bytes = 0;
    for (const auto& [name, buffer] : state()) n_bytes += buffer->bytes();
    return n_bytes;
}

Tensor ParameterSet::append_update(Graph& graph, Tensor rate, Tensor step, Tensor gradient_scale) const {
    const LayerScope scope(graph, "update");
    const Tensor norm = mul(global_norm(graph.bind(*gradients_)), gradient_scale);
    const Tensor factor = mul(clip_factor(norm, choice_.max_grad_norm), gradient_scale);
    for (const ParameterRange& r : ranges_) {
        const AdamWInputs in{graph.bind(*r.gradient), rate, step, factor};
        AdamWParams params = choice_.adamw;
        if (!r.decays) params.weight_decay = 0;
        if (r.eight_bit) {
            const AdamW8State state{graph.bind(*r.m), graph.bind(*r.v), graph.bind(*r.m_scale), graph.bind(*r.v_scale)};
            adamw_8bit(graph.bind(*r.param), state, in, params);
        } else {
            adamw(graph.bind(*r.param), graph.bind(*r.m), graph.bind(*r.v), in, params);
        }
    }
    fill(graph.bind(*gradients_), 0);
    return norm;
}

}  // namespace ggq
