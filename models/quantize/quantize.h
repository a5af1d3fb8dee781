// Quantizing a model folder once and for all: what training and generation else do while they load it.
//
//   bitsandbytes   the linears in 4 bits (nf4, fp4) or 8 (int8) as transformers' save_pretrained stores them
//   dequantized    what those restore to, in the types, names and shards of an ordinary folder: for programs that know
//                  nothing of 4 bits, and an adapter that was trained over them
// Weights go through memory one at a time, on the CPU.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/base_options.h"
#include "models/events.h"
#include "models/option_table.h"
#include "models/quantize/quantization_error.h"

namespace ggq {

enum class QuantizedAs : uint8_t { bitsandbytes, dequantized };

inline constexpr OptionName<QuantizedAs> kQuantizedAs[] = {
    {QuantizedAs::bitsandbytes, "bitsandbytes"},
    {QuantizedAs::dequantized, "dequantized"},
    {QuantizedAs::bitsandbytes, "bnb", true},
};

struct QuantizeOptions {
    BaseOptions base;  // model, and the form: `quant`, `quant_block`, `double_quant`
    QuantizedAs as = QuantizedAs::bitsandbytes;
    std::string skip;            // modules that stay plain, comma-separated: names, dotted beginnings or ends of them
    std::optional<DType> dtype;  // of what is plain; nothing: as the input's, tensor by tensor
    std::string output;
    bool overwrite = false;
    std::string shard_size = "5GB";
    bool json = false, quiet = false;
};

void validate(const QuantizeOptions& options);

// Whether an entry of a skip list means the module: it is its name, its beginning ("model.layers.1.mlp") or its end
// ("down_proj"), up to a dot.
bool is_skipped(const std::string& module, const std::vector<std::string>& skip);

struct QuantizeResult {
    std::vector<QuantizedWeight> weights;  // that were quantized, in the order of the model
    QuantizedWeight all;                   // of those together
    int64_t n_weights = 0, n_plain = 0;    // elements in all, and of them plain
    double bits_a_weight = 0;              // of the whole model, what is plain among it
};

// Throws Error for whatever the options, the files or the machine make impossible, and Interrupted when `events.stop`
// ends it; the output folder is then as it was.
QuantizeResult run_quantization(QuantizeOptions options, const Events& events);

}  // namespace ggq
