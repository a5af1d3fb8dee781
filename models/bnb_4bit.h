// The linears of a checkpoint that bitsandbytes stored in 4 or in 8 bits. In 4 bits, of P.weight, which holds the codes
// in bytes of any type, there are also:
//   P.weight.absmax                f32 [blocks], or under double quantization u8 [blocks]
//   P.weight.quant_map             f32 [16], the levels
//   P.weight.nested_absmax         f32 [blocks / 256], double quantization only
//   P.weight.nested_quant_map      f32 [256], double quantization only
//   P.weight.quant_state.bitsandbytes__nf4, or __fp4: u8, a JSON text
// In 8 bits (LLM.int8) P.weight is i8 [out, in], and there are also
//   P.SCB                          f32 [out], the absmax of a row: weight = code * SCB / 127
//   P.weight_format                u8, 0: row by row; older files lack it
// A linear without them is plain, as those that were left out of the quantization are. Codes and scales lie in memory
// as they do in the file, so they are loaded as they are.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "ggq/buffer.h"
#include "ggq/io/sharded_safetensors.h"
#include "models/bnb_4bit_state.h"
#include "models/config.h"
#include "models/weights.h"

namespace ggq {

class Bnb4bitWeights {
public:
    // Checks all but the codes and the scales themselves. `files` must outlive this.
    Bnb4bitWeights(const LlamaConfig& config, const ShardedSafetensors& files);

    // Of all, for they are alike; nothing if there are none.
    std::optional<QuantForm> form() const;
    bool has(const std::string& weight) const { return states_.contains(weight); }
    // Whether a tensor of the files belongs to one of these weights.
    bool has_part(const std::string& tensor) const { return parts_.contains(tensor); }
    // Refuses scales that are NaN or infinite, by name.
    void load(const WeightRow& row, Store& store, const Buffer& to) const;

private:
    void add(const WeightRow& row, const std::string& state_name, DType type);
    void add_int8(const WeightRow& row);
    void check_alike(const WeightRow& row, const QuantForm& form) const;

    const ShardedSafetensors& files_;
    std::map<std::string, Bnb4bitState> states_;  // by weight
    std::set<std::string> parts_;
};

}  // namespace ggq
