// Going on from one generated token to the next without the host.
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

const OpDef next_token_op = {
    .name = "next_token",
    .signature = "ids!:i32[R] positions!:i32[R] spans!:i32[R,2] at!:i32[R] log!:i32[R,S] rows:i32[T] token:i32[T] ->",
    // Of a row of the log one element.
    .bytes = [](const OpCall& c) { return c.in[6].shape[0] * (2 * 5 + 2) * 4; },
    .kernel = kernels::next_token,
};

void next_token(const Reading& state, Tensor rows, Tensor token) {
    token.graph->append(next_token_op, {state.ids, state.positions, state.spans, state.at, state.log, rows, token});
}

}  // namespace ggq
