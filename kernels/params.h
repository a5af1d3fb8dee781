// The typed parameters of ops: small plain structs, fixed when the graph is built. Whatever changes from step to step
// (learning rate, random counter, ...) is a tensor of one element instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/check.h"
#include "kernels/formats.h"

namespace ggq {

struct NoParams {};

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

// `site` numbers the place in the model, so that no two masks share random numbers.
struct DropoutParams {
    float p = 0;  // probability of a zero; what stays is scaled by 1 / (1 - p)
    uint32_t site = 0;
};

struct LoraParams {
    float scaling = 1;  // alpha / r, or alpha / sqrt(r)
    DropoutParams dropout;
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

// Type-erased storage of one parameter struct; as<T>() checks that T is what was put in.
class ParamBlock {
public:
    ParamBlock() : ParamBlock(NoParams{}) {}
    template <typename T>
    requires(!std::is_same_v<std::remove_cvref_t<T>, ParamBlock>) ParamBlock(const T& params) : type_(&type_tag<T>) {
        static_assert(sizeof(T) <= sizeof(bytes_) && std::is_trivially_copyable_v<T>);
        std::memcpy(bytes_, &params, sizeof(T));
    }
    template <typename T>
    const T& as() const {
        GGQ_ASSERT(type_ == &type_tag<T>, "parameters of another op");
        return *reinterpret_cast<const T*>(bytes_);
    }

private:
    template <typename T>
    static constexpr char type_tag = 0;

    alignas(8) std::byte bytes_[64] = {};
    const void* type_;
};

}  // namespace ggq
