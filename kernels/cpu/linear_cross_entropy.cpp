// Head and loss in one, without the whole logits: rows that carry a label are gathered and taken `chunk` at a time.
//   logits[c,V] = x w^T;  loss += lse - logit[label];  g = softmax - onehot (in place);  dx = g w;  dw += g^T x
// Rows without a label get a zero dx. The loss is summed in double in the order of the rows.
// Floor for L labelled rows: 2 L C V FLOP, twice that more for dx and again for dw.
#include "kernels/cpu/product.h"
#include "kernels/cpu/workspace.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

constexpr int64_t kSumRun = 512;  // exponentials that are summed in T before the sum goes on in double

template <typename T>
T largest(const T* x, int64_t n) {
    T value = x[0];
#pragma omp simd reduction(max : value)
    for (int64_t i = 0; i < n; ++i) value = x[i] > value ? x[i] : value;
    return value;
}

// x = exp(x - shift); gives the sum.
template <typename T>
double exp_in_place(T* x, int64_t n, T shift) {
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += kSumRun) {
        const int64_t end = n - begin < kSumRun ? n : begin + kSumRun;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = begin; i < end; ++i) {
            x[i] = exp_real(x[i] - shift);
            sum += x[i];
        }
        total += static_cast<double>(sum);
    }
    return total;
}

// Gives the loss of one row, whose logits become the gradient.
template <typename T>
double row_loss(T* logits, int64_t n, int32_t label) {
    const T shift = largest(logits, n);
    const double of_label = static_cast<double>(logits[label] - shift);
    const double sum = exp_in_place(logits, n, shift);
    const T inverse = static_cast<T>(1.0 / sum);
    for (int64_t i = 0; i < n; ++i) logits[i] *= inverse;
    logits[label] -= T{1};
    return __builtin_log(sum) - of_label;
}

template <typename T>
struct Head {
    const CpuContext& ctx;
    const KernelArgs& args;
    HeadBuffers at;  // offsets in the workspace

    template <typename U>
    U* buffer(int64_t offset) const {
        return reinterpret_cast<U*>(args.workspace.data() + offset);
    }
    std::span<std::byte> scratch() const { return args.workspace.subspan(at.product); }

    int64_t gather_labelled() const {
        const int32_t* labels = args.in[2].template as<int32_t>();
        int64_t n = 0;
        for (int64_t t = 0; t < args.in[2].shape[0]; ++t)
            if (labels[t] != kIgnoredLabel) buffer<int64_t>(at.rows)[n++] = t;
        return n;
    }

    void clear(const View& v) const {
        ctx.threads->for_range(v.n_elems(), kTaskElems, [&](int64_t begin, int64_t end) {
            std::memset(v.as<T>() + begin, 0, static_cast<size_t>(end - begin) * sizeof(T));
        });
    }

    // Losses of n labelled rows from `first` on, and their gradients.
    void run_chunk(int64_t first, int64_t n) const {
        const View &x = args.in[0], &w = args.in[1];
        const int64_t channels = w.shape[1], vocabulary = w.shape[0];
        const int64_t* rows = buffer<int64_t>(at.rows) + first;
        T *gathered = buffer<T>(at.gathered), *logits = buffer<T>(at.logits);
        ctx.threads->for_range(n, rows_per_task(channels), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                load_run(operand(x), rows[i] * channels, 1, channels, gathered + i * channels);
        });
        multiply(ctx, Product<T>{logits, n, vocabulary, {{operand(gathered, channels), operand(w), channels}}},
                 scratch());
        const int32_t* labels = args.in[2].template as<int32_t>();
        ctx.threads->for_range(n, rows_per_task(vocabulary), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                buffer<double>(at.losses)[first + i] = row_loss(logits + i * vocabulary, vocabulary, labels[rows[i]]);
        });
        if (args.out.size() > 1) input_gradient(rows, n);
        if (args.out.size() > 2) weight_gradient(first, n);
    }

    void input_gradient(const int64_t* rows, int64_t n) const {
        const View &dx = args.out[1], &w = args.in[1];
        const int64_t channels = w.shape[1], vocabulary = w.shape[0];
        T* compact = buffer<T>(at.dx);
        multiply(ctx,
                 Product<T>{compact,
                            n,
                            channels,
                            {{operand(buffer<T>(at.logits), vocabulary), transposed(operand(w)), vocabulary}}},
                 scratch());
        ctx.threads->for_range(n, rows_per_task(channels), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                std::memcpy(dx.as<T>() + rows[i] * channels, compact + i * channels,
                            static_cast<size_t>(channels) * sizeof(T));
        });
    }

    void weight_gradient(int64_t first, int64_t n) const {
        const int64_t channels = args.in[1].shape[1], vocabulary = args.in[1].shape[0];
        Product<T> p{args.out[2].as<T>(),
                     vocabulary,
                     channels,
                     {{transposed(operand(buffer<T>(at.logits), vocabulary)),
                       transposed(operand(buffer<T>(at.gathered), channels)), n}}};
        p.add = first > 0;
        multiply(ctx, p, scratch());
    }

    void run(int64_t chunk) const {
        const int64_t n = gather_labelled();
        if (args.out.size() > 1) clear(args.out[1]);
        if (args.out.size() > 2 && n == 0) clear(args.out[2]);
        for (int64_t first = 0; first < n; first += chunk) run_chunk(first, n - first < chunk ? n - first : chunk);
        double loss = 0;
        for (int64_t i = 0; i < n; ++i) loss += buffer<double>(at.losses)[i];
        *args.out[0].as<T>() = static_cast<T>(loss);
    }
};

}  // namespace

void linear_cross_entropy(const CpuContext& ctx, const KernelArgs& args) {
    const View &x = args.in[0], &w = args.in[1];
    const auto& params = args.param<LinearCrossEntropyParams>();
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const HeadBuffers at = head_buffers(x.shape[0], w.shape[1], w.shape[0], params, sizeof(T));
        Head<T>{ctx, args, at}.run(params.chunk);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
