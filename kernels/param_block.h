// ParamBlock: the parameters of an op (kernels/params.h) where their type is not known, in a step of a graph and in the
// arguments of a kernel.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "kernels/check.h"

namespace ggq {

struct NoParams {};

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
