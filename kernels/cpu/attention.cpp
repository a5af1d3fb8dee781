// Attention without the matrix of scores (flash attention: Dao et al., 2022), for grouped heads and any spans of keys.
//
// A task is a block of rows (queries times the heads that share a key head). Its queries lie transposed, [D, rows], so
// that scores come as [keys, rows] and everything of the softmax runs along the rows. Blocks of keys pass by; for each
// row the maximum m and the sum of exp(score - m) so far are kept, and the output is rescaled where m grows:
//   scores = k q^T,  p = exp(scores - m),  sum = sum * c + colsum(p),  o[D, rows] = o * c + v^T p,  c = exp(m_old - m)
// Only keys that some row of the block sees are touched. With few rows and many keys (decode), the keys are split into
// pieces, each with its own m, sum and o, which are combined in order.
#include "kernels/cpu/attention_block.h"
#include "kernels/params.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

constexpr double kHidden = -1e30;  // stands for minus infinity, but hidden - hidden is zero

template <typename T>
struct SoftmaxState {
    T* o;    // [D,width]
    T* top;  // [width] the largest score so far
    T* sum;  // [width] of exp(score - top)
};

// Sets the scores that are hidden from a row: [n_keys,width], the first key is number `first`.
template <typename T, typename Width>
void hide(T* scores, T value, const RowBlock& rows, int64_t first, int64_t n_keys, Width width) {
    for (int64_t s = 0; s < n_keys; ++s) {
        const auto key = static_cast<int32_t>(first + s);
        T* row = scores + s * width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) row[i] = (rows.begin[i] <= key) & (key < rows.end[i]) ? row[i] : value;
    }
}

// Raises `top` to the maxima of the block, turns scores into exp(score - top), and gives in `rescale` what sums made
// with the old `top` are to be multiplied with. The local array, which nothing else can point to, stays in registers.
template <typename T, typename Width>
void exponentiate(T* scores, int64_t n_keys, T* top, T* rescale, Width width) {
    T highest[kAttentionBlock];
    for (int64_t i = 0; i < width; ++i) highest[i] = top[i];
    for (int64_t s = 0; s < n_keys; ++s) {
        const T* row = scores + s * width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) highest[i] = row[i] > highest[i] ? row[i] : highest[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
        rescale[i] = exp_real(top[i] - highest[i]);
        top[i] = highest[i];
    }
    for (int64_t s = 0; s < n_keys; ++s) {
        T* row = scores + s * width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) row[i] = exp_real(row[i] - highest[i]);
    }
}

template <typename T, typename Width>
void add_keys(const SoftmaxState<T>& state, T* scores, const RowBlock& rows, int64_t first, int64_t n_keys, int64_t D,
              Width width) {
    const bool masked = !rows.all_see(first, first + n_keys);
    T rescale[kAttentionBlock], sum[kAttentionBlock] = {};
    if (masked) hide(scores, static_cast<T>(kHidden), rows, first, n_keys, width);
    exponentiate(scores, n_keys, state.top, rescale, width);
    // A row that sees nothing yet has top = hidden, and exp(hidden - hidden) = 1.
    if (masked) hide(scores, T{0}, rows, first, n_keys, width);

    for (int64_t s = 0; s < n_keys; ++s)
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) sum[i] += scores[s * width + i];
    for (int64_t i = 0; i < width; ++i) state.sum[i] = state.sum[i] * rescale[i] + sum[i];
    for (int64_t d = 0; d < D; ++d)
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) state.o[d * width + i] *= rescale[i];
}

// The state of a block of rows after the keys [begin, end).
template <typename T>
void attend(const KernelArgs& args, const RowBlock& rows, int64_t begin, int64_t end, const SoftmaxState<T>& state,
            T* buffer) {
    const int64_t D = args.in[0].shape[2], width = rows.width;
    T* q = buffer;
    T* scores = q + D * width;
    T* key_buffer = scores + kAttentionBlock * width;
    T* value_buffer = key_buffer + kAttentionBlock * D;
    pack_transposed(q, rows.n, D, width, static_cast<T>(args.param<AttentionParams>().scale),
                    [&](int64_t i) { return rows.row<const T>(args.in[0], i); });
    for (int64_t i = 0; i < width; ++i) state.top[i] = static_cast<T>(kHidden);
    for (int64_t i = 0; i < width; ++i) state.sum[i] = 0;
    for (int64_t i = 0; i < D * width; ++i) state.o[i] = 0;

    for (int64_t s = begin; s < end; s += kAttentionBlock) {
        const int64_t n_keys = end - s < kAttentionBlock ? end - s : kAttentionBlock;
        product(rows_of(args.in[1], rows.g, s, n_keys, key_buffer), n_keys, D, q, scores, width, false);
        with_width(width, [&](auto w) { add_keys(state, scores, rows, s, n_keys, D, w); });
        const Matrix<T> v = rows_of(args.in[2], rows.g, s, n_keys, value_buffer);
        product(v.transposed(), D, n_keys, scores, state.o, width, true);
    }
}

template <typename T>
void write_rows(const KernelArgs& args, const RowBlock& rows, const SoftmaxState<T>& state) {
    const View& y = args.out[0];
    const int64_t n_queries = y.shape[0], D = y.shape[2];
    for (int64_t i = 0; i < rows.n; ++i) {
        T* to = rows.row<T>(y, i);
        const T factor = 1 / state.sum[i];
        for (int64_t d = 0; d < D; ++d) to[d] = state.o[d * rows.width + i] * factor;
        args.out[1].as<T>()[rows.head(i) * n_queries + rows.query(i)] =
            state.top[i] + static_cast<T>(__builtin_log(static_cast<double>(state.sum[i])));
    }
}

// Adds the state of a later piece to `state`.
template <typename T>
void combine(const SoftmaxState<T>& state, const SoftmaxState<T>& piece, int64_t D, int64_t width) {
    T mine[kAttentionBlock], other[kAttentionBlock];
    for (int64_t i = 0; i < width; ++i) {
        const T top = piece.top[i] > state.top[i] ? piece.top[i] : state.top[i];
        mine[i] = exp_real(state.top[i] - top);
        other[i] = exp_real(piece.top[i] - top);
        state.top[i] = top;
        state.sum[i] = state.sum[i] * mine[i] + piece.sum[i] * other[i];
    }
    for (int64_t d = 0; d < D; ++d)
#pragma omp simd
        for (int64_t i = 0; i < width; ++i)
            state.o[d * width + i] = state.o[d * width + i] * mine[i] + piece.o[d * width + i] * other[i];
}

template <typename T>
void attend_whole(const CpuContext& ctx, const KernelArgs& args, const AttentionShape& shape) {
    T* workspace = reinterpret_cast<T*>(args.workspace.data());
    const int64_t worker_elems = kAttentionBlock * (4 * shape.D + kAttentionBlock);
    const int64_t n_blocks = shape.n_row_blocks();
    run_tasks(ctx, shape, n_blocks * shape.G, [&](int64_t task, int worker) {
        // The last rows see most keys where attention is causal: they go first.
        const RowBlock rows(shape, args.in[3], task % shape.G, n_blocks - 1 - task / shape.G);
        T* buffer = workspace + worker * worker_elems;
        T top[kAttentionBlock], sum[kAttentionBlock];
        const SoftmaxState<T> state{buffer, top, sum};
        attend(args, rows, rows.union_begin, rows.union_end, state, buffer + shape.D * rows.width);
        write_rows(args, rows, state);
    });
}

// For at most one block of rows a key head.
template <typename T>
void attend_in_pieces(const CpuContext& ctx, const KernelArgs& args, const AttentionShape& shape, int64_t piece_keys) {
    T* workspace = reinterpret_cast<T*>(args.workspace.data());
    const int64_t worker_elems = kAttentionBlock * (4 * shape.D + kAttentionBlock);
    const int64_t n_pieces = ceil_div(shape.S, piece_keys), width = padded_width(shape.n_rows());
    T* pieces = workspace + ctx.threads->size() * worker_elems;
    const auto state_of = [&](int64_t g, int64_t piece) {
        T* o = pieces + (g * n_pieces + piece) * (shape.D + 2) * width;
        return SoftmaxState<T>{o, o + shape.D * width, o + (shape.D + 1) * width};
    };
    run_tasks(ctx, shape, n_pieces * shape.G, [&](int64_t task, int worker) {
        const int64_t g = task / n_pieces, piece = task % n_pieces;
        const RowBlock rows(shape, args.in[3], g, 0);
        const int64_t begin = piece * piece_keys, end = begin + piece_keys;
        attend(args, rows, begin > rows.union_begin ? begin : rows.union_begin,
               end < rows.union_end ? end : rows.union_end, state_of(g, piece), workspace + worker * worker_elems);
    });
    run_tasks(ctx, shape, shape.G, [&](int64_t g, int) {
        for (int64_t piece = 1; piece < n_pieces; ++piece) combine(state_of(g, 0), state_of(g, piece), shape.D, width);
        write_rows(args, RowBlock(shape, args.in[3], g, 0), state_of(g, 0));
    });
}

}  // namespace

void attention(const CpuContext& ctx, const KernelArgs& args) {
    const AttentionShape shape(args.in[0], args.in[1]);
    const int64_t piece_keys = attention_piece_keys(shape.T, shape.H, shape.S, shape.G);
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        if (piece_keys < shape.S) attend_in_pieces<T>(ctx, args, shape, piece_keys);
        else attend_whole<T>(ctx, args, shape);
    });
}

void cache_write(const CpuContext&, const KernelArgs& args) {
    const View& cache = args.out[0];
    const View& x = args.in[1];
    const auto* at = args.in[2].as<int32_t>();
    const int64_t D = x.shape[2], n_at = args.in[2].shape[0];
    with_float(cache.dtype, [&](auto to) {
        with_real(x.dtype, [&](auto from) {
            using To = decltype(to);
            using From = decltype(from);
            for (int64_t t = 0; t < x.shape[0]; ++t)
                for (int64_t g = 0, to_row = n_at == 1 ? at[0] + t : at[t]; g < x.shape[1]; ++g) {
                    if (to_row < 0 || to_row >= cache.shape[0]) break;
                    To* y = cache.as<To>() + to_row * cache.strides[0] + g * cache.strides[1];
                    const From* row = x.as<From>() + t * x.strides[0] + g * x.strides[1];
#pragma omp simd
                    for (int64_t d = 0; d < D; ++d) y[d] = convert<To>(row[d]);
                }
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
