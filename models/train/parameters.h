// What is trained, laid out for the optimizer: masters, gradients and optimizer state are flat ranges in which every
// tensor starts at a multiple of kStateBlock elements, so that one norm and a few update launches serve all tensors,
// and the blocks of 8-bit state never cross a tensor.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ggq/buffer.h"
#include "ggq/ops.h"
#include "models/llama.h"

namespace ggq {

struct OptimizerChoice {
    bool eight_bit = true;
    int64_t min_8bit_size = 4096;  // smaller tensors keep 32-bit state, as in bitsandbytes
    bool pageable = false;         // masters and state may lie on the host where memory is short
    AdamWParams adamw;
    float max_grad_norm = 1;  // 0: no clipping
};

struct TrainedParameter {
    TrainedTensor tensor;
    Buffer* param = nullptr;
    Buffer* gradient = nullptr;
};

// Masters, gradients and state of a stretch of the flat order.
struct UpdatePart {
    Buffer* param = nullptr;
    Buffer* gradient = nullptr;
    Buffer *m = nullptr, *v = nullptr;              // f32, or u8 codes
    Buffer *m_scale = nullptr, *v_scale = nullptr;  // f32 [n_elems / kStateBlock], 8-bit state only
};

// Tensors with the same state format and the same decay.
struct ParameterRange {
    bool eight_bit = false, decays = true;
    int64_t first = 0, n_elems = 0;  // in the flat order
    UpdatePart all;
    std::vector<UpdatePart> steps;  // an update step each: one, or pieces small enough to be pages
};

class ParameterSet {
public:
    ParameterSet(Store& store, const std::vector<TrainedTensor>& tensors, DType master, const OptimizerChoice& choice);

    const std::vector<TrainedParameter>& parameters() const { return parameters_; }
    const std::map<std::string, Buffer*>& by_name() const { return by_name_; }
    const std::vector<ParameterRange>& ranges() const { return ranges_; }
    const Buffer& gradients() const { return *gradients_; }
    const Buffer& gradient_of(const Buffer& param) const;
    // Appends copies of all masters in a narrower type, made in one step, as working values of a graph; none where the
    // type is not narrower, where masters come in pages, or where the copies, which live as long as a pass, would weigh
    // more than launches are worth.
    WorkingCopies append_copies(Graph& graph, DType compute) const;
    int64_t n_trained() const;    // elements, without padding
    int64_t state_bytes() const;  // of m and v

    // Appends norm, clipping, the update of every range and the zeroing of gradients; returns the norm before clipping.
    // rate[1] f32, step[1] i64, gradient_scale[1] f32 by which the gradients are to be multiplied first (1 over the
    // loss scale). A norm that is not finite leaves parameters and state as they are.
    Tensor append_update(Graph& graph, Tensor rate, Tensor step, Tensor gradient_scale) const;

    // Optimizer state by name, as a checkpoint stores it: "m.0", "v.0", "m_scale.0", ... one a range.
    std::map<std::string, Buffer*> state() const;

private:
    UpdatePart part_of(Store& store, const ParameterRange& range, const std::string& name, int64_t at, int64_t n);
    void add_range(Store& store, const std::vector<TrainedTensor>& tensors, bool eight_bit, bool decays, int64_t& next);

    OptimizerChoice choice_;
    std::vector<TrainedParameter> parameters_;
    std::map<std::string, Buffer*> by_name_;
    std::vector<ParameterRange> ranges_;
    Buffer* masters_ = nullptr;
    Buffer* gradients_ = nullptr;
};

}  // namespace ggq
