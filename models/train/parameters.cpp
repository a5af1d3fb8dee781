#include "models/train/parameters.h"

#include "ggq/error.h"
#include "kernels/code_maps.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

// Of a page of optimizer state: a multiple of kStateBlock, and large enough to be copied at full speed.
constexpr int64_t kPageElems = int64_t{1} << 22;

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
    masters_->pageable = choice.pageable;
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
    ParameterRange range{eight_bit, decays, first, n, {}, {}};
    const auto state = [&](const char* name, DType dtype, int64_t n_elems) {
        Buffer& buffer = store.declare(name + suffix, Kind::state, {dtype, {n_elems}, {}});
        buffer.pageable = choice_.pageable;
        return &buffer;
    };
    range.all.param = &store.slice(*masters_, "parameters" + suffix, first, {n});
    range.all.gradient = &store.slice(*gradients_, "gradients" + suffix, first, {n});
    const DType dtype = eight_bit ? DType::u8 : DType::f32;
    range.all.m = state("m", dtype, n);
    range.all.v = state("v", dtype, n);
    if (eight_bit) {
        range.all.m_scale = state("m_scale", DType::f32, n / kStateBlock);
        range.all.v_scale = state("v_scale", DType::f32, n / kStateBlock);
    }
    const int64_t piece = choice_.pageable ? kPageElems : n;
    for (int64_t at = 0; at < n; at += piece)
        range.steps.push_back(part_of(store, range, "." + std::to_string(at / piece), at, std::min(piece, n - at)));
    ranges_.push_back(std::move(range));
}

// Of `n` elements from the range's element `at` on.
UpdatePart ParameterSet::part_of(Store& store, const ParameterRange& range, const std::string& name, int64_t at,
                                 int64_t n) {
    const auto part = [&](Buffer* whole, int64_t from, int64_t n_elems) {
        return whole ? &store.slice(*whole, whole->name + name, from, {n_elems}) : nullptr;
    };
    const UpdatePart& all = range.all;
    return {.param = part(masters_, range.first + at, n),
            .gradient = part(gradients_, range.first + at, n),
            .m = part(all.m, at, n),
            .v = part(all.v, at, n),
            .m_scale = part(all.m_scale, at / kStateBlock, n / kStateBlock),
            .v_scale = part(all.v_scale, at / kStateBlock, n / kStateBlock)};
}

const Buffer& ParameterSet::gradient_of(const Buffer& param) const {
    for (const TrainedParameter& p : parameters_)
        if (p.param == &param) return *p.gradient;
    GGQ_ASSERT(false, param.name + " is not trained");
    return *gradients_;
}

WorkingCopies ParameterSet::append_copies(Graph& graph, DType compute) const {
    constexpr int64_t kMostBytes = int64_t{128} << 20;
    WorkingCopies copies;
    const bool narrower = info(compute).bytes < info(masters_->type.dtype).bytes;
    if (!narrower || masters_->pageable || masters_->type.shape.n_elems() * info(compute).bytes > kMostBytes)
        return copies;
    const LayerScope scope(graph, "working copies");
    const Tensor all = cast(graph.bind(*masters_), compute);
    int64_t first = 0;
    for (const TrainedParameter& p : parameters_) {
        const int64_t n = p.tensor.shape.n_elems();
        copies[p.param] = reshape(slice(all, 0, first, first + n), p.tensor.shape);
        first += padded(n);
    }
    return copies;
}

int64_t ParameterSet::n_trained() const {
    int64_t n = 0;
    for (const TrainedParameter& p : parameters_) n += p.tensor.shape.n_elems();
    return n;
}

std::map<std::string, Buffer*> ParameterSet::state() const {
    std::map<std::string, Buffer*> buffers;
    for (const ParameterRange& r : ranges_)
        for (Buffer* b : {r.all.m, r.all.v, r.all.m_scale, r.all.v_scale})
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
        AdamWParams params = choice_.adamw;
        if (!r.decays) params.weight_decay = 0;
        for (const UpdatePart& p : r.steps) {
            const AdamWInputs in{graph.bind(*p.gradient), rate, step, factor};
            if (r.eight_bit) {
                const AdamW8State state{graph.bind(*p.m), graph.bind(*p.v), graph.bind(*p.m_scale),
                                        graph.bind(*p.v_scale)};
                adamw_8bit(graph.bind(*p.param), state, in, params);
            } else {
                adamw(graph.bind(*p.param), graph.bind(*p.m), graph.bind(*p.v), in, params);
            }
        }
    }
    fill(graph.bind(*gradients_), 0);
    return norm;
}

}  // namespace ggq
