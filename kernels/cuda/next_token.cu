// Going on from one generated token to the next. Floor: a launch.
#include "kernels/cuda/launch.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 32;

struct State {
    int32_t *ids, *positions, *spans, *at, *log;  // [R], [R], [R,2], [R], [R,S]
    int64_t n_rows, n_log;
};

__global__ void __launch_bounds__(kThreads)
    go_on(const State state, const int32_t* rows, const int32_t* tokens, int64_t n_tokens) {
    begin_dependent();
    const int64_t t = blockIdx.x * int64_t{kThreads} + threadIdx.x;
    if (t >= n_tokens) return;
    const int64_t r = rows[t];
    if (r < 0 || r >= state.n_rows || state.at[r] < 0) return;
    const int32_t token = tokens[t], position = state.positions[r] + 1;
    if (position >= 0 && position < state.n_log) state.log[r * state.n_log + position] = token;
    if (token < 0 || position >= state.n_log) {
        state.at[r] = -1;
        return;
    }
    state.ids[r] = token;
    state.positions[r] = position;
    ++state.spans[2 * r + 1];
    ++state.at[r];
}

}  // namespace

void next_token(const CudaContext& ctx, const KernelArgs& args) {
    const auto i32 = [&](size_t i) { return args.out[i].as<int32_t>(); };
    const State state{i32(0), i32(1), i32(2), i32(3), i32(4), args.out[4].shape[0], args.out[4].shape[1]};
    const int64_t n = args.in[6].shape[0];
    launch_dependent(ctx, go_on, static_cast<unsigned>(ceil_div(n, kThreads)), kThreads, 0, state,
                     args.in[5].as<int32_t>(), args.in[6].as<int32_t>(), n);
}

}  // namespace ggq::cuda
