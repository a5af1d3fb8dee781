// BaseForm: in which form a model's weights are held in memory. Two models of the same checkpoint and form compute the
// same numbers, so an adapter's folder records the form under which it was trained.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "kernels/formats.h"

namespace ggq {

class JsonFields;

// A format and how it is stored.
struct QuantForm {
    DType dtype = DType::nf4;
    QuantSpec spec;

    bool operator==(const QuantForm&) const = default;
};

struct BaseForm {
    std::optional<DType> quant;  // of the linears: nf4, fp4, int8, or nothing: as in the checkpoint
    QuantSpec quant_spec;
    bool quantized_in_checkpoint = false;  // by another program: what is plain there stays plain
    bool quant_only_adapted = false;       // linears without an adapter stay as they are
    bool lift_f32 = false;                 // norms, embedding and head in f32, whatever the checkpoint says
    std::optional<DType> compute_dtype;    // of activations and products; nothing: not decided yet

    DType compute() const { return compute_dtype.value_or(DType::f32); }
    bool operator==(const BaseForm&) const = default;
};

// "nf4, blocks of 64, double scales"
std::string describe(const QuantForm& form);
// The same, and what is said beside it: all that changes the numbers of the base, whatever type computes with them.
std::string describe(const BaseForm& form);

// Keys quant, quant_block, double_quant, quant_only_adapted, lift_f32, compute_dtype;
// quantized_in_checkpoint where it is so.
void write_form(const BaseForm& form, nlohmann::ordered_json& to);
BaseForm read_form(const JsonFields& fields);  // missing keys have the defaults of BaseForm

}  // namespace ggq
