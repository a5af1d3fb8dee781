// Head and loss in one, without the whole logits: rows that carry a label are gathered and taken `chunk` at a time.
//   logits[c,V] = x w^T;  loss += lse - logit[label];  g = softmax - onehot (in place);  dx = g w;  dw += g^T x
// The host does not know how many rows carry a label: there are always ceil(T / chunk) rounds, whose rows beyond the
// labelled ones are zeros with a zero gradient and which our own kernels skip. Rows without a label get a zero dx.
// Losses are added in double in an order that depends on the number of labelled rows alone. Floor for L labelled rows:
// 2 L C V FLOP, twice that more for dx and again for dw.
#include "kernels/cuda/dequantize.h"
#include "kernels/cuda/head_rows.cuh"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kScanThreads = 1024, kCopyThreads = 256;

// rows[T] = numbers of the rows with a label, in order; n_labelled[1]. One block.
__global__ void __launch_bounds__(kScanThreads)
    labelled_rows(int32_t* n_labelled, int32_t* rows, const int32_t* labels, int64_t n_rows) {
    __shared__ int of_warps[kScanThreads / kWarp];
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    int before = 0;
    for (int64_t first = 0; first < n_rows; first += kScanThreads) {
        const int64_t row = first + threadIdx.x;
        const bool labelled = row < n_rows && labels[row] != kIgnoredLabel;
        const uint32_t warp_mask = __ballot_sync(0xffffffffu, labelled);
        if (lane == 0) of_warps[warp] = __popc(warp_mask);
        __syncthreads();
        int at = before + __popc(warp_mask & ((1u << lane) - 1));
        for (int w = 0; w < kScanThreads / kWarp; ++w) {
            if (w < warp) at += of_warps[w];
            before += of_warps[w];
        }
        if (labelled) rows[at] = static_cast<int32_t>(row);
        __syncthreads();
    }
    if (threadIdx.x == 0) *n_labelled = before;
}

// Rows of `words` words W. Grid: (rows, parts of a row).

// to[i] = from[rows[i]], or zeros beyond the labelled rows
template <typename W>
__global__ void __launch_bounds__(kCopyThreads)
    gather_rows(W* to, const W* from, const int32_t* rows, const int32_t* n_labelled, int64_t first, int64_t words) {
    const int64_t i = blockIdx.x;
    const bool labelled = first + i < *n_labelled;
    const W* row = from + (labelled ? rows[first + i] : 0) * words;
    for (int64_t c = blockIdx.y * int64_t{kCopyThreads} + threadIdx.x; c < words; c += gridDim.y * kCopyThreads)
        to[i * words + c] = labelled ? row[c] : W{};
}

// to[rows[i]] = from[i]
template <typename W>
__global__ void __launch_bounds__(kCopyThreads)
    scatter_rows(W* to, const W* from, const int32_t* rows, const int32_t* n_labelled, int64_t first, int64_t words) {
    const int64_t i = blockIdx.x;
    if (first + i >= *n_labelled) return;
    W* row = to + rows[first + i] * words;
    for (int64_t c = blockIdx.y * int64_t{kCopyThreads} + threadIdx.x; c < words; c += gridDim.y * kCopyThreads)
        row[c] = from[i * words + c];
}

// Zeros in the rows without a label, which no round writes.
template <typename W>
__global__ void __launch_bounds__(kCopyThreads)
    clear_unlabelled(W* to, const int32_t* labels, int64_t n_rows, int64_t words) {
    for (int64_t row = blockIdx.x; row < n_rows; row += gridDim.x) {
        if (labels[row] != kIgnoredLabel) continue;
        for (int64_t c = threadIdx.x; c < words; c += kCopyThreads) to[row * words + c] = W{};
    }
}

// loss[1] = sum of losses: a thread adds every 1024th, then the threads are added.
__global__ void __launch_bounds__(kScanThreads)
    add_labelled(float* loss, const double* losses, const int32_t* n_labelled) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < *n_labelled; i += kScanThreads) sum += losses[i];
    sum = block_reduce<Sum, kScanThreads>(sum);
    if (threadIdx.x == 0) *loss = static_cast<float>(sum);
}

struct Head {
    const CudaContext& ctx;
    const KernelArgs& args;
    const View &x, &w, &labels;
    HeadBuffers at;
    int64_t n_rows, C, V;
    DType real;
    Operand real_w;

    Head(const CudaContext& c, const KernelArgs& all)
        : ctx(c),
          args(all),
          x(all.in[0]),
          w(all.in[1]),
          labels(all.in[2]),
          at(head_buffers(x.shape[0], w.shape[1], w.shape[0], x.dtype, w.dtype, all.param<LinearCrossEntropyParams>())),
          n_rows(x.shape[0]),
          C(w.shape[1]),
          V(w.shape[0]),
          real(x.dtype),
          real_w(operand(w)) {}

    template <typename T>
    T* buffer(int64_t offset) const {
        return reinterpret_cast<T*>(args.workspace.data() + offset);
    }
    const int32_t* n_labelled() const { return buffer<int32_t>(at.n_labelled); }
    const int32_t* rows() const { return buffer<int32_t>(at.rows); }
    Operand gathered() const { return operand(buffer<void>(at.gathered), real, C); }
    Operand gradient() const {
        return operand(buffer<void>(at.logits), real, at.logits_stride * (4 / info(real).bytes));
    }
    bool has_dx() const { return args.out.size() > 1; }
    bool has_dw() const { return args.out.size() > 2; }

    void product(int64_t m, int64_t n, int64_t k, const Operand& left, const Operand& right, const Output& y) const {
        const Product p{.m = m, .n = n, .k = k, .x = left, .w = right, .y = y, .real = real};
        multiply_tiled(ctx, p, Scratch(args.workspace.subspan(at.product)));
    }

    // Calls f with a word and the words of a row [C] of x or dx: 16 bytes if rows at both addresses allow it.
    template <typename F>
    void with_words(const void* a, const void* b, const F& f) const {
        const int64_t bytes = C * info(real).bytes;
        if (bytes % 16 == 0 && aligned(a, 16) && aligned(b, 16)) f(uint4{}, bytes / 16);
        else if (info(real).bytes == 4) f(uint32_t{}, C);
        else f(uint16_t{}, C);
    }
    dim3 row_grid(int64_t n, int64_t words) const {
        return {static_cast<unsigned>(n), static_cast<unsigned>(ceil_div(words, kCopyThreads))};
    }

    void find_labelled() const {
        launch(ctx, labelled_rows, 1, kScanThreads, 0, buffer<int32_t>(at.n_labelled), buffer<int32_t>(at.rows),
               labels.as<int32_t>(), n_rows);
        if (!has_dx()) return;
        void* dx = args.out[1].data;
        with_words(dx, dx, [&](auto word, int64_t words) {
            using W = decltype(word);
            launch(ctx, clear_unlabelled<W>, blocks_for(ctx, n_rows, 1), kCopyThreads, 0, static_cast<W*>(dx),
                   labels.as<int32_t>(), n_rows, words);
        });
    }

    void convert_weight() {
        if (w.dtype == real) return;
        void* copy = buffer<void>(at.w);
        if (info(w.dtype).quantized) dequantize_to(ctx, w.quant, w.dtype, V * C, real, copy);
        else convert_dense(ctx, operand(w), V, C, real, copy);
        real_w = operand(copy, real, C);
    }

    void losses_of(int64_t first, int64_t n) const {
        const HeadRows head{buffer<float>(at.logits),
                            at.logits_stride,
                            V,
                            buffer<double>(at.losses),
                            labels.as<int32_t>(),
                            rows(),
                            n_labelled(),
                            first,
                            has_dx()};
        with_real(real, [&](auto tag) { row_losses<decltype(tag)>(ctx, head, n); });
    }

    // Rows first .. first + n - 1 of the labelled ones.
    void run_chunk(int64_t first, int64_t n) const {
        with_words(x.data, buffer<void>(at.gathered), [&](auto word, int64_t words) {
            using W = decltype(word);
            launch(ctx, gather_rows<W>, row_grid(n, words), kCopyThreads, 0, buffer<W>(at.gathered), x.as<W>(), rows(),
                   n_labelled(), first, words);
        });
        product(n, V, C, gathered(), real_w, {buffer<void>(at.logits), DType::f32, at.logits_stride});
        losses_of(first, n);
        if (has_dx()) input_gradient(first, n);
        if (!has_dw()) return;
        Output dw{args.out[2].data, args.out[2].dtype, C};
        dw.beta = first > 0 ? 1.0f : 0.0f;
        product(V, C, n, transposed(gradient()), transposed(gathered()), dw);
    }

    void input_gradient(int64_t first, int64_t n) const {
        product(n, C, V, gradient(), transposed(real_w), {buffer<void>(at.dx), real, C});
        void* dx = args.out[1].data;
        with_words(dx, buffer<void>(at.dx), [&](auto word, int64_t words) {
            using W = decltype(word);
            launch(ctx, scatter_rows<W>, row_grid(n, words), kCopyThreads, 0, static_cast<W*>(dx), buffer<W>(at.dx),
                   rows(), n_labelled(), first, words);
        });
    }
};

}  // namespace

void linear_cross_entropy(const CudaContext& ctx, const KernelArgs& args) {
    Head head(ctx, args);
    head.find_labelled();
    head.convert_weight();
    if (head.n_rows == 0 && head.has_dw())
        GGQ_CUDA_CHECK(cudaMemsetAsync(
            args.out[2].data, 0, static_cast<size_t>(head.V * head.C * info(args.out[2].dtype).bytes), ctx.stream));
    for (int64_t first = 0; first < head.n_rows; first += head.at.chunk)
        head.run_chunk(first, head.n_rows - first < head.at.chunk ? head.n_rows - first : head.at.chunk);
    launch(ctx, add_labelled, 1, kScanThreads, 0, args.out[0].as<float>(), head.buffer<double>(head.at.losses),
           head.n_labelled());
}

}  // namespace ggq::cuda
