// Going on from one generated token to the next. Floor: a launch.
#include "kernels/cuda/launch.cuh"

namespace ggq::cuda {

namespace {

struct Reading {
    int32_t *id, *position, *span, *at, *log;
    int64_t n_log;
};

__global__ void go_on(const Reading state, const int32_t* token) {
    begin_dependent();
    const int32_t position = *state.position;
    if (position >= 0 && position < state.n_log) state.log[position] = *token;
    *state.id = *token;
    *state.position = position + 1;
    ++state.span[1];
    ++*state.at;
}

}  // namespace

void next_token(const CudaContext& ctx, const KernelArgs& args) {
    const auto i32 = [&](size_t i) { return args.out[i].as<int32_t>(); };
    const Reading state{i32(0), i32(1), i32(2), i32(3), i32(4), args.out[4].shape[0]};
    launch_dependent(ctx, go_on, 1, 1, 0, state, args.in[5].as<int32_t>());
}

}  // namespace ggq::cuda
