// Going on from one generated token to the next without the host.
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

const OpDef next_token_op = {
    .name = "next_token",
    .signature = "ids!:i32[1] positions!:i32[1] spans!:i32[1,2] at!:i32[1] log!:i32[S] token:i32[1] ->",
    .bytes = [](const OpCall&) -> int64_t { return 2 * 5 * 4 + 2 * 4; },  // of the log one element
    .kernel = kernels::next_token,
};

void next_token(const Reading& state, Tensor token) {
    token.graph->append(next_token_op, {state.ids, state.positions, state.spans, state.at, state.log, token});
}

}  // namespace ggq
