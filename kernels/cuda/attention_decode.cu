// Attention of a few queries over a long cache, which is bound by reading the cache once. The keys are cut into pieces
// of kDecodePiece; a block takes a piece for up to kRows rows that share a key head (queries times heads of a group),
// so that a row of k or v serves all of them:
//   s = scale q k^T,  m = max(s),  p = exp(s - m),  sum = rowsum(p),  o = p v      to the workspace
// and a second kernel adds the pieces that a query sees, in order:  y = sum_i e_i o_i / sum_i e_i sum_i, e_i = exp(m_i
// - m). Blocks of pieces that nobody sees end at once, so the time follows what is in the cache, not its size. Floor:
// the bytes of the keys and values seen, + 2 (D + 2) / (kDecodePiece D) of them for the partial results at four rows a
// key head in bf16.
#include "kernels/cuda/attention_decode.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

using namespace decode;

constexpr int kCombineThreads = 256, kCombineWarps = kCombineThreads / kWarp;

// Block (piece, key head, rows).
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads) attend_piece(const Call call) {
    begin_dependent();
    float* const p = reinterpret_cast<float*>(dynamic_shared());
    float* const sums = p + kRows * kPiece;
    auto* const turns = reinterpret_cast<float2*>(sums + kWarps * kRows * call.D);
    const int origin = blockIdx.x * kPiece, first_row = blockIdx.z * kRows;
    if (call.fresh.k) {
        fill_turns(call, turns);
        __syncthreads();
        write_new_rows<T>(call, origin, turns);
        __syncthreads();
    }
    const int last_row = min(first_row + kRows, call.n_queries * call.group) - 1;
    int begin = INT_MAX, end = 0;
    for (int query = first_row / call.group; query <= last_row / call.group; ++query) {
        const Span span = span_of(call.spans, query);
        begin = min(begin, span.begin);
        end = max(end, span.end);
    }
    begin = max(begin, origin);
    end = min(min(end, origin + kPiece), call.n_keys);
    if (begin >= end) return;

    const Place place(call, kWide<T>);
    write_scores<T, kRows>(call, place, first_row, origin, begin, end, turns, p);
    exponentiate<kRows>(call, first_row, p);
    write_values<T, kRows>(call, place, first_row, origin, begin, end, p, sums);
}

// Block (head, query): warp w adds pieces w, w + kCombineWarps, ... of those that the query sees, then the warps' sums
// are added in order. A lane has elements lane, lane + 32, ...
template <typename T>
__global__ void __launch_bounds__(kCombineThreads) combine(const Call call, T* y, float* lse) {
    constexpr int kMost = static_cast<int>(kMostHeadSize), kEach = kMost / kWarp;
    begin_dependent();
    __shared__ float outputs[kCombineWarps][kMost];
    __shared__ float totals[kCombineWarps];
    const int head = blockIdx.x, query = blockIdx.y, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int64_t n_rows = static_cast<int64_t>(call.n_queries) * call.n_heads, row = query * call.n_heads + head;
    const Span span = span_of(call.spans, query);
    const int first = span.begin / kPiece, last = (min(span.end, call.n_keys) - 1) / kPiece;

    float top = -INFINITY;
    for (int i = first + threadIdx.x; i <= last; i += kCombineThreads) top = fmaxf(top, call.tops[i * n_rows + row].x);
    top = block_reduce<Max, kCombineThreads>(top);
    float o[kEach] = {}, total = 0;
    for (int i = first + warp; i <= last; i += kCombineWarps) {
        const float2 piece = call.tops[i * n_rows + row];
        const float factor = expf(piece.x - top), *from = call.o + (i * n_rows + row) * call.D;
        total += factor * piece.y;
#pragma unroll
        for (int e = 0; e < kEach; ++e)
            if (lane + e * kWarp < call.D) o[e] = fmaf(factor, from[lane + e * kWarp], o[e]);
    }
#pragma unroll
    for (int e = 0; e < kEach; ++e) outputs[warp][lane + e * kWarp] = o[e];
    if (lane == 0) totals[warp] = total;
    __syncthreads();
    total = 0;
    for (int w = 0; w < kCombineWarps; ++w) total += totals[w];
    for (int d = threadIdx.x; d < call.D; d += kCombineThreads) {
        float sum = 0;
        for (int w = 0; w < kCombineWarps; ++w) sum += outputs[w][d];
        y[row * call.D + d] = from_float<T>(sum / total);
    }
    if (threadIdx.x == 0 && lse) lse[static_cast<int64_t>(head) * call.n_queries + query] = top + logf(total);
}

template <typename T, int kRows>
void attend_rows(const CudaContext& ctx, const Call& call) {
    const int64_t n_rows = int64_t{call.n_queries} * call.group;
    const dim3 grid(static_cast<unsigned>(decode_pieces(call.n_keys)), static_cast<unsigned>(call.n_heads / call.group),
                    static_cast<unsigned>(ceil_div(n_rows, kRows)));
    const int64_t shared = shared_bytes<kRows>(call.D, call.fresh.k ? call.n_queries : 0);
    launch_dependent(ctx, attend_piece<T, kRows>, grid, dim3(kThreads), static_cast<size_t>(shared), call);
}

// The lanes that a row of k or v takes, 16 bytes each.
int lanes_of_row(int64_t D, DType dtype) {
    int lanes = 1;
    while (lanes * 16 < D * info(dtype).bytes) lanes *= 2;
    return lanes;
}

bool takes(const View& q, const View& k, const View& v) {
    return attention_may_decode(q.shape[0], k.shape[0]) && k.dtype == v.dtype && rows_are_wide(k) && rows_are_wide(v) &&
           lanes_of_row(q.shape[2], k.dtype) <= kWarp;
}

Call call_of(const View& q, const View& k, const View& v, const View& spans, float scale, std::byte* workspace) {
    const AttentionShape shape(q, k);
    float* const o = reinterpret_cast<float*>(workspace);
    const int64_t n_partial = decode_pieces(shape.S) * shape.T * shape.H;
    return {.q = {.data = q.data, .dtype = q.dtype, .token = q.strides[0], .head = q.strides[1]},
            .k = k.data,
            .v = v.data,
            .k_token = k.strides[0],
            .k_head = k.strides[1],
            .v_token = v.strides[0],
            .v_head = v.strides[1],
            .spans = spans.as<int32_t>(),
            .o = o,
            .tops = reinterpret_cast<float2*>(o + n_partial * shape.D),
            .scale = scale,
            .fresh = {},
            .n_queries = static_cast<int>(shape.T),
            .n_keys = static_cast<int>(shape.S),
            .n_heads = static_cast<int>(shape.H),
            .group = static_cast<int>(shape.group),
            .D = static_cast<int>(shape.D),
            .lanes = lanes_of_row(shape.D, k.dtype)};
}

// y[T,H,D] of the type of q; lse may be null.
void attend(const CudaContext& ctx, const Call& call, DType cached, const View& y, float* lse) {
    with_real(cached, [&](auto tag) {
        using T = decltype(tag);
        const int n_rows = call.n_queries * call.group;
        if (n_rows == 1) attend_rows<T, 1>(ctx, call);
        else if (n_rows <= 4) attend_rows<T, 4>(ctx, call);
        else attend_rows<T, 8>(ctx, call);
    });
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        const dim3 grid(static_cast<unsigned>(call.n_heads), static_cast<unsigned>(call.n_queries));
        launch_dependent(ctx, combine<T>, grid, dim3(kCombineThreads), 0, call, y.as<T>(), lse);
    });
}

}  // namespace

bool attention_decode_takes(const KernelArgs& args) { return takes(args.in[0], args.in[1], args.in[2]); }

void attention_decode(const CudaContext& ctx, const KernelArgs& args) {
    const Call call = call_of(args.in[0], args.in[1], args.in[2], args.in[3], args.param<AttentionParams>().scale,
                              args.workspace.data());
    attend(ctx, call, args.in[1].dtype, args.out[0], args.out[1].as<float>());
}

bool cached_attention_decode_takes(const KernelArgs& args) { return takes(args.in[2], args.out[0], args.out[1]); }

void cached_attention_decode(const CudaContext& ctx, const KernelArgs& args) {
    const View &k_cache = args.out[0], &v_cache = args.out[1];
    Call call =
        call_of(args.in[2], k_cache, v_cache, args.in[8], args.param<AttentionParams>().scale, args.workspace.data());
    call.fresh = {.k = args.in[3].data,
                  .v = args.in[4].data,
                  .k_cache = k_cache.data,
                  .v_cache = v_cache.data,
                  .positions = args.in[5].as<int32_t>(),
                  .at = args.in[7].as<int32_t>(),
                  .n_at = args.in[7].shape[0],
                  .frequencies = args.in[6].as<float>()};
    attend(ctx, call, k_cache.dtype, args.out[2], nullptr);
}

}  // namespace ggq::cuda
