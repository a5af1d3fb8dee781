// The typed parameters of ops: small plain structs, fixed when the graph is built. Whatever changes from step to step
// (learning rate, random counter, ...) is a tensor of one element instead.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/formats.h"
#include "kernels/view.h"

namespace ggq {

// The dtype that an op makes, where its inputs do not say it.
struct CastParams {
    DType to = DType::f32;
};

struct QuantizeParams {
    DType to = DType::nf4;
    QuantSpec spec;
};

struct RmsNormParams {
    float eps = 1e-5f;
};

// y[t] = x[t] rotated by angle position * frequency; `inverse` rotates back, which is the gradient.
struct RopeParams {
    bool inverse = false;
};

struct AttentionParams {
    float scale = 1;  // of the scores, usually 1 / sqrt(head size)
};

struct WindowParams {
    int32_t n_keys = 0;  // that a query sees at most: the last of those that it saw
};

struct ScaleParams {
    double factor = 1;
};

struct SliceParams {
    int axis = 0;
    int64_t begin = 0;  // first kept index
    int64_t end = 0;    // one past the last
    Shape whole;        // what is sliced
};

struct TransposeParams {
    int axis0 = 0;
    int axis1 = 1;
};

inline constexpr int kMaskGroup = 8;  // elements whose random bits come from one position of the generator

// `site` numbers the place in the model, so that no two masks share random numbers.
struct DropoutParams {
    float p = 0;  // probability of a zero; what stays is scaled by 1 / (1 - p)
    uint32_t site = 0;
    int64_t first = 0;  // the position of the first element, a multiple of kMaskGroup: of what is cut in tiles

    // Of the 65536 values of 16 random bits, those below it drop an element.
    uint32_t threshold() const { return static_cast<uint32_t>(std::lround(static_cast<double>(p) * 65536)); }
};

// Of linear layers with adapters and what stands around them.
struct AdaptedParams {
    float eps = 0;          // of the norm, if there is one
    float scaling[3] = {};  // of each adapter
};

// Which gradients linear_cross_entropy computes beside the loss.
enum class HeadGradient : uint8_t { none, input, input_and_weight };

struct LinearCrossEntropyParams {
    HeadGradient gradient = HeadGradient::none;
    int32_t chunk = 256;  // labelled rows whose logits exist at a time
};

struct FillParams {
    double value = 0;
};

// A tensor made from its type alone.
struct FullParams {
    double value = 0;
    DType dtype = DType::f32;
    Shape shape;
};

struct BroadcastParams {
    double factor = 1;
    Shape shape;
};

struct ClipParams {
    float max_norm = 0;  // 0: never clip
};

struct AdamWParams {
    float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0;
};

inline constexpr int32_t kIgnoredLabel = -100;

}  // namespace ggq
