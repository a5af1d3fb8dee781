// Elementwise arithmetic on contiguous tensors of one shape, constants, copies between layouts, and the gradient of a
// slice. All are bound by memory: one pass, nothing kept.
#include "kernels/cpu/real.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

// y[i] = value everywhere, for any dtype that is not quantized.
void set_all(const CpuContext& ctx, const View& y, double value) {
    const auto set = [&](auto element) {
        auto* out = y.as<decltype(element)>();
        for_each_elem(ctx, y.n_elems(), [=](int64_t i) { out[i] = element; });
    };
    switch (y.dtype) {
        case DType::f32: return set(static_cast<float>(value));
        case DType::f64: return set(value);
        case DType::f16: return set(convert<f16>(value));
        case DType::bf16: return set(convert<bf16>(value));
        case DType::i32: return set(static_cast<int32_t>(value));
        case DType::i64: return set(static_cast<int64_t>(value));
        case DType::u8: return set(static_cast<uint8_t>(value));
        case DType::i8: return set(static_cast<int8_t>(value));
        default: return;
    }
}

// Rows of the innermost axis of x, in order, as a contiguous y; E is an unsigned integer of the element's size.
template <typename E>
void copy_rows(const View& y, const View& x, int64_t begin, int64_t end) {
    const int rank = x.shape.rank;
    const int64_t n = rank == 0 ? 1 : x.shape[rank - 1], step = rank == 0 ? 1 : x.strides[rank - 1];
    for (int64_t row = begin; row < end; ++row) {
        const E* from = x.as<E>();
        int64_t rest = row;
        for (int axis = rank - 2; axis >= 0; --axis) {
            from += rest % x.shape[axis] * x.strides[axis];
            rest /= x.shape[axis];
        }
        E* to = y.as<E>() + row * n;
        if (step == 1) {
            std::memcpy(to, from, static_cast<size_t>(n) * sizeof(E));
        } else {
            for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
        }
    }
}

}  // namespace

void add(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T* a = args.in[0].as<T>();
        const T* b = args.in[1].as<T>();
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = a[i] + b[i]; });
    });
}

void mul(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T* a = args.in[0].as<T>();
        const T* b = args.in[1].as<T>();
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = a[i] * b[i]; });
    });
}

void scale(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T* x = args.in[0].as<T>();
        const T factor = static_cast<T>(args.param<ScaleParams>().factor);
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = factor * x[i]; });
    });
}

void scale_by(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T* x = args.in[0].as<T>();
        const T factor = args.in[1].as<T>()[0];
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = factor * x[i]; });
    });
}

void accumulate(const CpuContext& ctx, const KernelArgs& args) {
    const size_t n = args.out.size();
    with_real(args.out[0].dtype, [&](auto tag) {
        with_float(args.in[n].dtype, [&](auto from) {
            using T = decltype(tag);
            for (size_t pair = 0; pair < n; ++pair) {
                T* y = args.out[pair].as<T>();
                const auto* x = args.in[n + pair].as<decltype(from)>();
                for_each_elem(ctx, args.out[pair].n_elems(), [=](int64_t i) { y[i] += convert<T>(x[i]); });
            }
        });
    });
}

void full(const CpuContext& ctx, const KernelArgs& args) { set_all(ctx, args.out[0], args.param<FullParams>().value); }

void fill(const CpuContext& ctx, const KernelArgs& args) { set_all(ctx, args.out[0], args.param<FillParams>().value); }

void broadcast(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T value = static_cast<T>(args.param<BroadcastParams>().factor) * args.in[0].as<T>()[0];
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = value; });
    });
}

void copy(const CpuContext& ctx, const KernelArgs& args) {
    const View& y = args.out[0];
    const View& x = args.in[0];
    const int64_t n_elems = x.n_elems();
    if (n_elems == 0) return;
    const int64_t row = x.shape.rank == 0 ? 1 : x.shape[x.shape.rank - 1];
    ctx.threads->for_range(n_elems / row, rows_per_task(row), [&](int64_t begin, int64_t end) {
        switch (info(x.dtype).bytes) {
            case 1: return copy_rows<uint8_t>(y, x, begin, end);
            case 2: return copy_rows<uint16_t>(y, x, begin, end);
            case 4: return copy_rows<uint32_t>(y, x, begin, end);
            default: return copy_rows<uint64_t>(y, x, begin, end);
        }
    });
}

void concat_rows(const CpuContext& ctx, const KernelArgs& args) {
    auto* y = args.out[0].as<std::byte>();
    for (const View& x : args.in) {
        const auto* from = x.as<std::byte>();
        const int64_t n_bytes = x.n_elems() * info(x.dtype).bytes;
        ctx.threads->for_range(n_bytes, 4 * kTaskElems, [&](int64_t begin, int64_t end) {
            std::memcpy(y + begin, from + begin, static_cast<size_t>(end - begin));
        });
        y += n_bytes;
    }
}

// y is, over and over, `before` zero bytes, `kept` bytes of dy, zeros up to `period`.
void slice_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View& y = args.out[0];
    const SliceParams& slice = args.param<SliceParams>();
    int64_t inner = info(y.dtype).bytes;
    for (int axis = slice.axis + 1; axis < y.shape.rank; ++axis) inner *= y.shape[axis];
    const int64_t period = inner * y.shape[slice.axis], before = inner * slice.begin;
    const int64_t kept = inner * (slice.end - slice.begin);
    auto* out = y.as<std::byte>();
    const auto* dy = args.in[0].as<std::byte>();

    ctx.threads->for_range(y.n_elems() * info(y.dtype).bytes, 4 * kTaskElems, [&](int64_t begin, int64_t end) {
        for (int64_t at = begin; at < end;) {
            const int64_t turn = at / period, place = at % period;
            const bool inside = place >= before && place < before + kept;
            const int64_t stop = place < before ? before : inside ? before + kept : period;
            const int64_t n = stop - place < end - at ? stop - place : end - at;
            if (inside) std::memcpy(out + at, dy + turn * kept + place - before, static_cast<size_t>(n));
            else std::memset(out + at, 0, static_cast<size_t>(n));
            at += n;
        }
    });
}

}  // namespace ggq::cpu::GGQ_ISA
