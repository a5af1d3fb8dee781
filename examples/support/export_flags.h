// The flags of the programs that write models and adapters, bound to their options.
#pragma once

#include "examples/support/cli.h"
#include "models/convert/convert.h"
#include "models/merge/merge.h"
#include "models/quantize/quantize.h"

namespace ggq {

// The options must outlive the table.
FlagTable merge_flags(MergeOptions& options);
FlagTable quantize_flags(QuantizeOptions& options);
FlagTable convert_flags(ConvertOptions& options);

}  // namespace ggq
