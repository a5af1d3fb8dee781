// Attention of a few queries over a long cache, which is bound by reading the cache once. The keys are cut into pieces
// of kDecodePiece; a block takes a piece for up to kRows rows that share a key head (queries times heads of a group),
// so that a row of k or v serves all of them:
//   s = scale q k^T,  m = max(s),  p = exp(s - m),  sum = rowsum(p),  o = p v      to the workspace
// and a second kernel adds the pieces that a query sees, in order:  y = sum_i e_i o_i / sum_i e_i sum_i, e_i = exp(m_i
// - m). Blocks of pieces that nobody sees end at once, so the time follows what is in the cache, not its size. Floor:
// the bytes of the keys and values seen, + 2 (D + 2) / (kDecodePiece D) of them for the partial results at four rows a
// key head in bf16.
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kPiece = static_cast<int>(kDecodePiece);
constexpr int kCombineThreads = 256, kCombineWarps = kCombineThreads / kWarp;
constexpr int kInFlight = 4;  // reads of 16 bytes that a lane has under way

struct Rows {
    const void* data;
    DType dtype;
    int64_t token, head;
};

struct Call {
    Rows q;
    const void *k, *v;
    int64_t k_token, k_head, v_token, v_head;
    const int* spans;  // [T,2]
    float* o;          // [pieces,T,H,D]
    float2* tops;      // [pieces,T,H] {m, sum}
    float scale;
    int n_queries, n_keys, n_heads, group, D, lanes;  // lanes that share a row of k or v: a power of two, 16 bytes each
};

// Where a thread stands: it reads 16 bytes, from element d on, of keys group, group + n_groups, ...
struct Place {
    int d, group, n_groups;
    bool reads;

    __device__ Place(const Call& call, int width)
        : d(static_cast<int>(threadIdx.x) % call.lanes * width),
          group(static_cast<int>(threadIdx.x) / call.lanes),
          n_groups(kThreads / call.lanes),
          reads(d < call.D) {}
};

// f(key, values of the row), kInFlight rows read before the first is used; all lanes of a warp go through it together.
template <typename T, typename F>
__device__ __forceinline__ void for_rows(const void* data, int64_t token, const Place& place, int begin, int end,
                                         const F& f) {
    const T* rows = static_cast<const T*>(data) + place.d;
    for (int first = begin; first < end; first += place.n_groups * kInFlight) {
        Pack<T, kWide<T>> packs[kInFlight] = {};
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
            const int key = first + place.group + u * place.n_groups;
            if (key < end && place.reads) packs[u] = *reinterpret_cast<const Pack<T, kWide<T>>*>(rows + key * token);
        }
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
            float values[kWide<T>];
#pragma unroll
            for (int e = 0; e < kWide<T>; ++e) values[e] = to_float(packs[u].of[e]);
            f(first + place.group + u * place.n_groups, values);
        }
    }
}

// Shared memory: p[kRows][kPiece], then o[kWarps][kRows][D].
template <int kRows>
int64_t shared_bytes(int64_t D) {
    return (kRows * kPiece + kWarps * kRows * D) * 4;
}

// scale * q of this lane's elements; all rows are under way at once.
template <typename T, int kRows, int kWidth>
__device__ __forceinline__ void read_queries_as(const Call& call, const Place& place, int first_row,
                                                float (&q)[kRows][kWidth]) {
    const int n_rows = call.n_queries * call.group;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        const int row = min(first_row + r, n_rows - 1), head = blockIdx.y * call.group + row % call.group;
        const T* from = static_cast<const T*>(call.q.data) + row / call.group * call.q.token + head * call.q.head;
#pragma unroll
        for (int e = 0; e < kWidth; ++e) q[r][e] = place.reads ? to_float(from[place.d + e]) : 0.f;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < kWidth; ++e) q[r][e] *= call.scale;
}

// Scores of the keys [begin, end) of the piece that starts at `origin`; minus infinity for the others and where a row
// does not see a key.
template <typename T, int kRows>
__device__ __forceinline__ void write_scores(const Call& call, const Place& place, int first_row, int origin, int begin,
                                             int end, float* p) {
    constexpr int kWidth = kWide<T>;
    const int key_head = blockIdx.y, n_rows = call.n_queries * call.group;
    float q[kRows][kWidth];
    if (call.q.dtype == DType::f32) read_queries_as<float>(call, place, first_row, q);
    else if (call.q.dtype == DType::f16) read_queries_as<f16>(call, place, first_row, q);
    else read_queries_as<bf16>(call, place, first_row, q);
    Span span[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) span[r] = span_of(call.spans, min(first_row + r, n_rows - 1) / call.group);
    for (int i = threadIdx.x; i < kRows * kPiece; i += kThreads) p[i] = -INFINITY;
    __syncthreads();
    const T* keys = static_cast<const T*>(call.k) + key_head * call.k_head;
    for_rows<T>(keys, call.k_token, place, begin, end, [&](int key, const float(&k)[kWidth]) {
        float s[kRows] = {};
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) s[r] = fmaf(q[r][e], k[e], s[r]);
        for (int distance = call.lanes / 2; distance > 0; distance /= 2)
#pragma unroll
            for (int r = 0; r < kRows; ++r) s[r] += __shfl_xor_sync(0xffffffffu, s[r], distance);
        if (place.d != 0 || key >= end) return;
#pragma unroll
        for (int r = 0; r < kRows; ++r)
            if (span[r].has(key)) p[r * kPiece + key - origin] = s[r];
    });
    __syncthreads();
}

// A warp a row: scores become p, {m, sum} go to the workspace.
template <int kRows>
__device__ __forceinline__ void exponentiate(const Call& call, int first_row, float* p) {
    const int lane = threadIdx.x % kWarp, n_rows = call.n_queries * call.group;
    for (int r = threadIdx.x / kWarp; r < kRows; r += kWarps) {
        float* row = p + r * kPiece;
        float top = -INFINITY, sum = 0;
#pragma unroll
        for (int i = 0; i < kPiece / kWarp; ++i) top = fmaxf(top, row[lane + i * kWarp]);
        top = warp_reduce<Max>(top);
        const float base = top == -INFINITY ? 0.f : top;  // the row sees nothing of the piece
#pragma unroll
        for (int i = 0; i < kPiece / kWarp; ++i) {
            const float e = expf(row[lane + i * kWarp] - base);
            row[lane + i * kWarp] = e;
            sum += e;
        }
        sum = warp_reduce<Sum>(sum);
        const int i = first_row + r, query = i / call.group, head = blockIdx.y * call.group + i % call.group;
        if (lane == 0 && i < n_rows)
            call.tops[(static_cast<int64_t>(blockIdx.x) * call.n_queries + query) * call.n_heads + head] = {top, sum};
    }
    __syncthreads();
}

template <typename T, int kRows>
__device__ __forceinline__ void write_values(const Call& call, const Place& place, int first_row, int origin, int begin,
                                             int end, const float* p, float* sums) {
    constexpr int kWidth = kWide<T>;
    const int key_head = blockIdx.y, n_rows = call.n_queries * call.group, warp = threadIdx.x / kWarp;
    float o[kRows][kWidth] = {};
    const T* values = static_cast<const T*>(call.v) + key_head * call.v_head;
    for_rows<T>(values, call.v_token, place, begin, end, [&](int key, const float(&v)[kWidth]) {
        if (key >= end) return;
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) o[r][e] = fmaf(p[r * kPiece + key - origin], v[e], o[r][e]);
    });
    for (int distance = call.lanes; distance < kWarp; distance *= 2)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) o[r][e] += __shfl_xor_sync(0xffffffffu, o[r][e], distance);
    if (static_cast<int>(threadIdx.x % kWarp) < call.lanes && place.reads)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) sums[(warp * kRows + r) * call.D + place.d + e] = o[r][e];
    __syncthreads();
    for (int i = threadIdx.x; i < kRows * call.D; i += kThreads) {
        const int row = first_row + i / call.D, query = row / call.group;
        if (row >= n_rows) break;
        const int64_t at = (static_cast<int64_t>(blockIdx.x) * call.n_queries + query) * call.n_heads +
                           key_head * call.group + row % call.group;
        float sum = sums[i];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) sum += sums[w * kRows * call.D + i];
        call.o[at * call.D + i % call.D] = sum;
    }
}

// Block (piece, key head, rows).
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads) attend_piece(const Call call) {
    const int origin = blockIdx.x * kPiece, first_row = blockIdx.z * kRows;
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

    float* const p = reinterpret_cast<float*>(dynamic_shared());
    const Place place(call, kWide<T>);
    write_scores<T, kRows>(call, place, first_row, origin, begin, end, p);
    exponentiate<kRows>(call, first_row, p);
    write_values<T, kRows>(call, place, first_row, origin, begin, end, p, p + kRows * kPiece);
}

// Block (head, query): warp w adds pieces w, w + kCombineWarps, ... of those that the query sees, then the warps' sums
// are added in order. A lane has elements lane, lane + 32, ...
template <typename T>
__global__ void __launch_bounds__(kCombineThreads) combine(const Call call, T* y, float* lse) {
    constexpr int kMost = static_cast<int>(kMostHeadSize), kEach = kMost / kWarp;
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
    if (threadIdx.x == 0) lse[static_cast<int64_t>(head) * call.n_queries + query] = top + logf(total);
}

template <typename T, int kRows>
void attend_rows(const CudaContext& ctx, const Call& call) {
    const int64_t n_rows = int64_t{call.n_queries} * call.group;
    const dim3 grid(static_cast<unsigned>(decode_pieces(call.n_keys)), static_cast<unsigned>(call.n_heads / call.group),
                    static_cast<unsigned>(ceil_div(n_rows, kRows)));
    launch(ctx, attend_piece<T, kRows>, grid, dim3(kThreads), static_cast<size_t>(shared_bytes<kRows>(call.D)), call);
}

// The lanes that a row of k or v takes, 16 bytes each.
int lanes_of_row(int64_t D, DType dtype) {
    int lanes = 1;
    while (lanes * 16 < D * info(dtype).bytes) lanes *= 2;
    return lanes;
}

}  // namespace

bool attention_decode_takes(const KernelArgs& args) {
    const View &q = args.in[0], &k = args.in[1], &v = args.in[2];
    return attention_may_decode(q.shape[0], k.shape[0]) && k.dtype == v.dtype && rows_are_wide(k) && rows_are_wide(v) &&
           lanes_of_row(q.shape[2], k.dtype) <= kWarp;
}

void attention_decode(const CudaContext& ctx, const KernelArgs& args) {
    const View &q = args.in[0], &k = args.in[1], &v = args.in[2];
    const AttentionShape shape(q, k);
    float* const workspace = reinterpret_cast<float*>(args.workspace.data());
    const int64_t n_partial = decode_pieces(shape.S) * shape.T * shape.H;
    const Call call{.q = {.data = q.data, .dtype = q.dtype, .token = q.strides[0], .head = q.strides[1]},
                    .k = k.data,
                    .v = v.data,
                    .k_token = k.strides[0],
                    .k_head = k.strides[1],
                    .v_token = v.strides[0],
                    .v_head = v.strides[1],
                    .spans = args.in[3].as<int32_t>(),
                    .o = workspace,
                    .tops = reinterpret_cast<float2*>(workspace + n_partial * shape.D),
                    .scale = args.param<AttentionParams>().scale,
                    .n_queries = static_cast<int>(shape.T),
                    .n_keys = static_cast<int>(shape.S),
                    .n_heads = static_cast<int>(shape.H),
                    .group = static_cast<int>(shape.group),
                    .D = static_cast<int>(shape.D),
                    .lanes = lanes_of_row(shape.D, k.dtype)};
    with_real(k.dtype, [&](auto tag) {
        using T = decltype(tag);
        const int64_t n_rows = shape.T * shape.group;
        if (n_rows == 1) attend_rows<T, 1>(ctx, call);
        else if (n_rows <= 4) attend_rows<T, 4>(ctx, call);
        else attend_rows<T, 8>(ctx, call);
    });
    with_real(q.dtype, [&](auto tag) {
        using T = decltype(tag);
        const dim3 grid(static_cast<unsigned>(shape.H), static_cast<unsigned>(shape.T));
        launch(ctx, combine<T>, grid, dim3(kCombineThreads), 0, call, args.out[0].as<T>(), args.out[1].as<float>());
    });
}

}  // namespace ggq::cuda
