// The gradient of attention, deterministic and without atomics: scores are computed again from q, k and the kept
// log-sum-exp, once for dq and once for dk and dv, so that each output has one task that writes it.
//   p = exp(scale q k^T - lse),  dp = dy v^T,  delta = rowsum(dy * y),  ds = p (dp - delta)
//   dq = scale ds k,  dk = scale ds^T q,  dv = p^T dy,   the heads of a group added in order
// dq: a task is a block of rows, as in the forward, and blocks of keys pass by; matrices are [keys, rows].
// dk, dv: a task is a block of keys, and blocks of queries of each head of the group pass by; matrices are [queries,
// keys].
#include "kernels/cpu/attention_block.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

enum Output { kDq, kDk, kDv };
enum Input { kDy, kQ, kK, kV, kY, kLse, kSpans };

template <typename T>
struct Backward {
    const KernelArgs& args;
    const AttentionShape shape;
    const T scale;
    T* const delta;    // [H,T]
    T* const buffers;  // one for each worker

    explicit Backward(const KernelArgs& a)
        : args(a),
          shape(a.in[kQ], a.in[kK]),
          scale(static_cast<T>(a.param<AttentionParams>().scale)),
          delta(reinterpret_cast<T*>(a.workspace.data())),
          buffers(delta + padded_width(shape.T * shape.H)) {}
    T* buffer(int worker) const { return buffers + worker * kAttentionBlock * (6 * shape.D + 2 * kAttentionBlock); }
    const T* lse() const { return args.in[kLse].as<T>(); }
    const int32_t* spans() const { return args.in[kSpans].as<int32_t>(); }
    static const T* row(const View& x, int64_t t, int64_t h) { return x.as<T>() + t * x.strides[0] + h * x.strides[1]; }
};

template <typename T>
void sum_rows(const CpuContext& ctx, const Backward<T>& b) {
    const int64_t n_queries = b.shape.T, D = b.shape.D;
    ctx.threads->for_range(b.shape.H * n_queries, rows_per_task(D), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const T* dy = b.row(b.args.in[kDy], i % n_queries, i / n_queries);
            const T* y = b.row(b.args.in[kY], i % n_queries, i / n_queries);
            T sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t d = 0; d < D; ++d) sum += dy[d] * y[d];
            b.delta[i] = sum;
        }
    });
}

// ds[n_keys,width] from scores and dp; lse and delta are those of the columns.
template <typename T, typename Width>
void score_gradient(T* ds, const T* dp, const RowBlock& rows, const T* lse, const T* delta, int64_t first,
                    int64_t n_keys, Width width) {
    const bool masked = !rows.all_see(first, first + n_keys);
    for (int64_t s = 0; s < n_keys; ++s) {
        T* row = ds + s * width;
        const T* dp_row = dp + s * width;
        const auto key = static_cast<int32_t>(first + s);
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) row[i] = exp_real(row[i] - lse[i]) * (dp_row[i] - delta[i]);
        if (!masked) continue;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) row[i] = (rows.begin[i] <= key) & (key < rows.end[i]) ? row[i] : T{0};
    }
}

template <typename T>
void query_gradient(const Backward<T>& b, const RowBlock& rows, T* buffer) {
    const int64_t D = b.shape.D, width = rows.width;
    T* q = buffer;  // these three [D,width]
    T* dy = q + D * width;
    T* dq = dy + D * width;
    T* ds = dq + D * width;  // these two [keys,width]
    T* dp = ds + kAttentionBlock * width;
    T* key_buffer = dp + kAttentionBlock * width;
    T* value_buffer = key_buffer + kAttentionBlock * D;
    T lse[kAttentionBlock], delta[kAttentionBlock];
    for (int64_t i = 0; i < width; ++i) {
        const int64_t row = i < rows.n ? i : rows.n - 1, at = rows.head(row) * b.shape.T + rows.query(row);
        lse[i] = b.lse()[at];
        delta[i] = b.delta[at];
    }
    pack_transposed(q, rows.n, D, width, b.scale, [&](int64_t i) { return rows.row<const T>(b.args.in[kQ], i); });
    pack_transposed(dy, rows.n, D, width, T{1}, [&](int64_t i) { return rows.row<const T>(b.args.in[kDy], i); });
    for (int64_t i = 0; i < D * width; ++i) dq[i] = 0;

    for (int64_t s = rows.union_begin; s < rows.union_end; s += kAttentionBlock) {
        const int64_t n_keys = rows.union_end - s < kAttentionBlock ? rows.union_end - s : kAttentionBlock;
        const Matrix<T> k = rows_of(b.args.in[kK], rows.g, s, n_keys, key_buffer);
        const Matrix<T> v = rows_of(b.args.in[kV], rows.g, s, n_keys, value_buffer);
        product(k, n_keys, D, q, ds, width, false);
        product(v, n_keys, D, dy, dp, width, false);
        with_width(width, [&](auto w) { score_gradient(ds, dp, rows, lse, delta, s, n_keys, w); });
        product(k.transposed(), D, n_keys, ds, dq, width, true);
    }
    for (int64_t i = 0; i < rows.n; ++i) {
        T* to = rows.row<T>(b.args.out[kDq], i);
        for (int64_t d = 0; d < D; ++d) to[d] = b.scale * dq[d * width + i];
    }
}

// A block of keys of head g: k, v and their gradients [D,width]; of the queries that pass by: p, ds [queries,width] and
// q, dy [queries,D].
template <typename T>
struct KeyBlock {
    int64_t g, first, n, width;
    T *k, *v, *dk, *dv, *p, *ds, *q, *dy;

    KeyBlock(const Backward<T>& b, int64_t key_head, int64_t block, T* buffer)
        : g(key_head), first(block * kAttentionBlock) {
        const int64_t D = b.shape.D;
        n = b.shape.S - first < kAttentionBlock ? b.shape.S - first : kAttentionBlock;
        width = padded_width(n);
        k = buffer;
        v = k + D * width;
        dk = v + D * width;
        dv = dk + D * width;
        p = dv + D * width;
        ds = p + kAttentionBlock * width;
        q = ds + kAttentionBlock * width;
        dy = q + kAttentionBlock * D;
        pack(k, b.args.in[kK], b.scale);
        pack(v, b.args.in[kV], T{1});
        for (int64_t i = 0; i < D * width; ++i) dk[i] = dv[i] = 0;
    }
    void pack(T* dst, const View& x, T factor) const {
        const Matrix<T> from = rows_of(x, g, first, n, q);
        pack_transposed(dst, n, x.shape[2], width, factor, [&](int64_t i) { return from.data + i * from.row; });
    }
    void write(const View& to, const T* from, T factor) const {
        for (int64_t i = 0; i < n; ++i) {
            T* row = to.as<T>() + (first + i) * to.strides[0] + g * to.strides[1];
            for (int64_t d = 0; d < to.shape[2]; ++d) row[d] = factor * from[d * width + i];
        }
    }
};

// p and ds of one query, from scores and dp; the query sees keys [begin, end).
template <typename T, typename Width>
void query_row(T* p, T* ds, T lse, T delta, int32_t first, int32_t begin, int32_t end, Width width) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
        const int32_t key = first + static_cast<int32_t>(i);
        const T weight = (begin <= key) & (key < end) ? exp_real(p[i] - lse) : T{0};
        p[i] = weight;
        ds[i] = weight * (ds[i] - delta);
    }
}

// Adds what queries [t, t + n) of head h give to the keys.
template <typename T>
void add_queries(const Backward<T>& b, const KeyBlock<T>& keys, int64_t h, int64_t t, int64_t n) {
    const int64_t D = b.shape.D, width = keys.width;
    const int32_t* spans = b.spans();
    const Matrix<T> q = rows_of(b.args.in[kQ], h, t, n, keys.q);
    const Matrix<T> dy = rows_of(b.args.in[kDy], h, t, n, keys.dy);
    product(q, n, D, keys.k, keys.p, width, false);
    product(dy, n, D, keys.v, keys.ds, width, false);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t at = h * b.shape.T + t + i;
        with_width(width, [&](auto w) {
            query_row(keys.p + i * width, keys.ds + i * width, b.lse()[at], b.delta[at],
                      static_cast<int32_t>(keys.first), spans[2 * (t + i)], spans[2 * (t + i) + 1], w);
        });
    }
    product(dy.transposed(), D, n, keys.p, keys.dv, width, true);
    product(q.transposed(), D, n, keys.ds, keys.dk, width, true);
}

// The queries of [t, end) that may see a key of the block: the first and one past the last.
template <typename T>
void trim_queries(const Backward<T>& b, const KeyBlock<T>& keys, int64_t& t, int64_t& end) {
    const int32_t* spans = b.spans();
    const auto blind = [&](int64_t i) { return spans[2 * i] >= keys.first + keys.n || spans[2 * i + 1] <= keys.first; };
    while (t < end && blind(t)) ++t;
    while (t < end && blind(end - 1)) --end;
}

template <typename T>
void key_gradient(const Backward<T>& b, int64_t g, int64_t block, T* buffer) {
    const KeyBlock<T> keys(b, g, block, buffer);
    for (int64_t h = g * b.shape.group; h < (g + 1) * b.shape.group; ++h)
        for (int64_t begin = 0; begin < b.shape.T; begin += kAttentionBlock) {
            int64_t t = begin, end = begin + kAttentionBlock < b.shape.T ? begin + kAttentionBlock : b.shape.T;
            trim_queries(b, keys, t, end);
            if (t < end) add_queries(b, keys, h, t, end - t);
        }
    keys.write(b.args.out[kDk], keys.dk, b.scale);
    keys.write(b.args.out[kDv], keys.dv, T{1});
}

}  // namespace

void attention_backward(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const Backward<T> b(args);
        const AttentionShape& shape = b.shape;
        sum_rows(ctx, b);
        const int64_t n_blocks = shape.n_row_blocks();
        run_tasks(ctx, shape, n_blocks * shape.G, [&](int64_t task, int worker) {
            const RowBlock rows(shape, args.in[kSpans], task % shape.G, n_blocks - 1 - task / shape.G);
            query_gradient(b, rows, b.buffer(worker));
        });
        run_tasks(ctx, shape, shape.n_key_blocks() * shape.G,
                  [&](int64_t task, int worker) { key_gradient(b, task % shape.G, task / shape.G, b.buffer(worker)); });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
