#include "ggq/costs.h"

#include <algorithm>

namespace ggq {

double Costs::seconds(const OpCall& call) const {
    const auto listed = std::ranges::find(ops, call.op.name, &Rate::op);
    const Rate& rate = listed != ops.end() ? *listed : rest;
    const double arithmetic = call.op.flops ? call.op.flops(call) / rate.flops : 0;
    return rate.start + std::max(arithmetic, static_cast<double>(traffic_bytes(call)) / rate.bytes);
}

}  // namespace ggq
