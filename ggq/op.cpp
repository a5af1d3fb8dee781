#include "ggq/op.h"

namespace ggq {

int64_t traffic_bytes(const OpCall& call) {
    if (call.op.view) return 0;
    if (call.op.bytes) return call.op.bytes(call);
    int64_t total = 0;
    for (const TensorType& t : call.in) total += t.bytes();
    for (const TensorType& t : call.out) total += t.bytes();
    return total;
}

}  // namespace ggq
