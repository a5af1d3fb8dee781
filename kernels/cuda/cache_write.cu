// Writes rows of keys or values into a cache, where device memory says. What goes to no row of the cache is left out. A
// thread converts 16 bytes (of the wider type) at a time where rows allow it. Floor: x read, as much written.
#include "kernels/cuda/launch.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;

struct Rows {
    int64_t n_tokens, n_heads, D, n_kept;  // n_kept: rows of the cache
    int64_t n_at;                          // 1: the row of the first token, else of each
    int64_t x_token, x_head, cache_token, cache_head;
};

template <typename To, typename From, int kWidth>
__global__ void __launch_bounds__(kThreads) write_rows(To* cache, const From* x, const int* at, const Rows rows) {
    const int64_t packs = rows.D / kWidth, n = rows.n_tokens * rows.n_heads * packs;
    for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < n; i += gridDim.x * int64_t{kThreads}) {
        const int64_t d = i % packs * kWidth, head = i / packs % rows.n_heads, t = i / packs / rows.n_heads;
        const int64_t row = rows.n_at == 1 ? at[0] + t : at[t];
        if (row < 0 || row >= rows.n_kept) continue;
        float values[kWidth];
        load(x + t * rows.x_token + head * rows.x_head + d, values);
        store(cache + row * rows.cache_token + head * rows.cache_head + d, values);
    }
}

template <int kWidth>
bool allows(const View& x) {
    const auto whole = [&](int axis) { return x.shape[axis] == 1 || x.strides[axis] % kWidth == 0; };
    return x.shape[2] % kWidth == 0 && whole(0) && whole(1) &&
           reinterpret_cast<uintptr_t>(x.data) % static_cast<unsigned>(kWidth * info(x.dtype).bytes) == 0;
}

}  // namespace

void cache_write(const CudaContext& ctx, const KernelArgs& args) {
    const View &cache = args.out[0], &x = args.in[1];
    const Rows rows{.n_tokens = x.shape[0],
                    .n_heads = x.shape[1],
                    .D = x.shape[2],
                    .n_kept = cache.shape[0],
                    .n_at = args.in[2].shape[0],
                    .x_token = x.strides[0],
                    .x_head = x.strides[1],
                    .cache_token = cache.strides[0],
                    .cache_head = cache.strides[1]};
    with_real(cache.dtype, [&](auto to) {
        with_real(x.dtype, [&](auto from) {
            using To = decltype(to);
            using From = decltype(from);
            constexpr int kWidth = 16 / (sizeof(To) > sizeof(From) ? sizeof(To) : sizeof(From));
            const auto write = [&](auto kernel, int width) {
                launch(ctx, kernel, dim3(blocks_for(ctx, x.n_elems() / width, kThreads)), dim3(kThreads), 0,
                       cache.as<To>(), x.as<From>(), args.in[2].as<int32_t>(), rows);
            };
            if (allows<kWidth>(cache) && allows<kWidth>(x)) write(write_rows<To, From, kWidth>, kWidth);
            else write(write_rows<To, From, 1>, 1);
        });
    });
}

}  // namespace ggq::cuda
