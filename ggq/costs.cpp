#include "ggq/costs.h"

#include <algorithm>

namespace ggq {

double Costs::seconds(const OpCall& call) const {
    const auto listed = std::ranges::find(ops, call.op.name, &OpRate::op);
    const OpRate rate = listed != ops.end() ? *listed : OpRate{"", flops, bytes};
    const double arithmetic = call.op.flops ? call.op.flops(call) / rate.flops : 0;
    return start + std::max(arithmetic, static_cast<double>(traffic_bytes(call)) / rate.bytes);
}

}  // namespace ggq
