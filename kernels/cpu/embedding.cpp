// embedding: y[t] = table[ids[t]], whose rows are decoded where they are quantized. Its gradient splits the rows of the
// table among tasks; each task reads all ids, in order, and adds those that are its own, so that no two tasks write one
// row and no order depends on threads.
#include "kernels/cpu/quantized.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

// Rows of a quantized table, in pieces.
void decode_rows(const CpuContext& ctx, const View& y, const View& table, const int32_t* ids) {
    constexpr int64_t kPiece = 256;
    const int64_t C = y.shape[1];
    with_float(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        ctx.threads->for_range(y.shape[0], rows_per_task(C), [&](int64_t begin, int64_t end) {
            float piece[kPiece];
            for (int64_t t = begin; t < end; ++t)
                for (int64_t c = 0; c < C; c += kPiece) {
                    const int64_t n = C - c < kPiece ? C - c : kPiece;
                    decode(table.quant, table.dtype, ids[t] * C + c, n, piece);
                    for (int64_t i = 0; i < n; ++i) y.as<T>()[t * C + c + i] = convert<T>(piece[i]);
                }
        });
    });
}

}  // namespace

void embedding(const CpuContext& ctx, const KernelArgs& args) {
    const View& y = args.out[0];
    const View& table = args.in[0];
    if (info(table.dtype).quantized) return decode_rows(ctx, y, table, args.in[1].as<int32_t>());
    const auto* ids = args.in[1].as<int32_t>();
    const int64_t n_tokens = y.shape[0], C = y.shape[1];
    with_float(y.dtype, [&](auto tag) {
        with_float(table.dtype, [&](auto from) {
            using T = decltype(tag);
            using W = decltype(from);
            ctx.threads->for_range(n_tokens, rows_per_task(C), [&](int64_t begin, int64_t end) {
                for (int64_t t = begin; t < end; ++t) {
                    const W* row = table.as<W>() + ids[t] * table.strides[0];
                    T* out = y.as<T>() + t * C;
#pragma omp simd
                    for (int64_t c = 0; c < C; ++c) out[c] = convert<T>(row[c]);
                }
            });
        });
    });
}

void embedding_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View& dtable = args.out[0];
    const auto* ids = args.in[1].as<int32_t>();
    const int64_t n_tokens = args.in[0].shape[0], V = dtable.shape[0], C = dtable.shape[1];
    // Large tasks, for each one reads all ids.
    const int64_t rows = 16 * rows_per_task(C);
    with_real(dtable.dtype, [&](auto tag) {
        using T = decltype(tag);
        const T* dy = args.in[0].as<T>();
        ctx.threads->for_range(V, rows, [&](int64_t begin, int64_t end) {
            T* out = dtable.as<T>();
            std::memset(out + begin * C, 0, static_cast<size_t>((end - begin) * C) * sizeof(T));
            for (int64_t t = 0; t < n_tokens; ++t) {
                if (ids[t] < begin || ids[t] >= end) continue;
                T* row = out + ids[t] * C;
#pragma omp simd
                for (int64_t c = 0; c < C; ++c) row[c] += dy[t * C + c];
            }
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
