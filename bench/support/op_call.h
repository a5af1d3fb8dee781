// One call of an op on a device with made-up tensors, the unit that is checked and timed. Its tensors exist several
// times over, so that a call in rotation finds none of them in a cache.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "ggq/backend.h"

namespace ggq::bench {

struct Input {
    TensorType type;
    std::function<std::vector<std::byte>()> values;  // as they are stored
};

Input uniform(DType dtype, const Shape& shape, double low = -1, double high = 1);
Input constant(DType dtype, const Shape& shape, double value);
Input codes(const Shape& shape);                   // u8, random
Input quantized(DType dtype, const Shape& shape);  // random codes
Input integers(const Shape& shape, const std::function<int32_t(int64_t i)>& value);
Input counters(const std::vector<int64_t>& values);  // rng[2], step[1]
// Of T queries at the end of S keys, causal.
Input causal_spans(int64_t T, int64_t S);

struct Call {
    const OpDef* op = nullptr;
    std::vector<Input> in;
    ParamBlock params = {};
    size_t n_out = std::numeric_limits<size_t>::max();  // fewer leave optional outputs out
    double keys_a_query = 0;                            // of attention
};

struct ReleaseTo {
    Backend* backend;
    int64_t bytes;
    void operator()(std::byte* data) const { backend->release(data, bytes); }
};
using Memory = std::unique_ptr<std::byte, ReleaseTo>;

Memory allocate(Backend& backend, int64_t bytes);

// How many copies of so many bytes are far more than caches hold, four at least.
int64_t n_copies(int64_t bytes);

class BoundCall {
public:
    // Throws Error if the device lacks the op or the memory.
    BoundCall(Backend& backend, const Call& call);

    // The same tensors, by another backend of the same device, which must outlive it.
    void move_to(Backend& other);

    void run(size_t set) { backend_->run(*call_.op, {sets_[set].out, sets_[set].in, &call_.params, workspace()}); }
    size_t n_sets() const { return sets_.size(); }
    const std::vector<View>& in(size_t set) const { return sets_[set].in; }
    const std::vector<View>& out(size_t set) const { return sets_[set].out; }
    OpCall op_call() const { return {*call_.op, in_types_, out_types_, call_.params, "", call_.keys_a_query}; }
    double bytes() const { return static_cast<double>(traffic_bytes(op_call())); }
    double flops() const { return call_.op->flops ? call_.op->flops(op_call()) : 0; }
    Backend& backend() const { return *backend_; }

private:
    struct Set {
        std::vector<View> in, out;
        std::vector<Memory> memory;
    };

    View new_tensor(Set& set, const TensorType& type);
    void add_set(const std::vector<std::vector<std::byte>>& values);
    std::span<std::byte> workspace() const { return {workspace_.get(), static_cast<size_t>(workspace_bytes_)}; }

    Backend* backend_;
    Call call_;
    std::vector<TensorType> in_types_, out_types_;
    size_t n_inout_ = 0;  // outputs that stand in the first inputs' memory
    std::vector<Set> sets_;
    int64_t workspace_bytes_ = 0;
    Memory workspace_;
};

// The types of a call's outputs, as many as it asks for.
std::vector<TensorType> output_types_of(const Call& call, std::span<const TensorType> in);

}  // namespace ggq::bench
