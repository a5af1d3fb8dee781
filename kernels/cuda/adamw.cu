// AdamW with decoupled weight decay on flat ranges (Loshchilov and Hutter, 2019); every operation is rounded apart and
// in the order of the CPU's kernel, so that both give the same bits but for pow. A parameter of 16 bits is updated in
// float and rounded to nearest even. Where the gradient's factor is not finite nothing is written.
//
// adamw       as torch: p -= lr wd p;  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2;
//             p -= lr / c1 * m / (sqrt(v) / sqrt(c2) + eps), where c = 1 - b^step.
// adamw_8bit  as bitsandbytes' blockwise optimizer (Dettmers et al., 2022): m and v are 8-bit codes in blocks of
//             kStateBlock with one absmax each; the update is made from the float moments before they are rounded,
//             p -= lr sqrt(c2) / c1 * m / (sqrt(v) + eps sqrt(c2)), then p -= lr wd p. A warp takes a block.
// Floor: the bytes of p, m and v twice and of g once.
#include "kernels/cuda/code_maps.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kResident = 4, kResident8bit = 3;  // blocks that a multiprocessor holds at once

// What one step needs beside the elements.
struct Step {
    float beta1, beta2, one_minus_beta1, one_minus_beta2, eps, lr, decay, correction1, root_correction2, grad_factor;
};

struct StepInputs {
    AdamWParams params;
    const float *lr, *grad_factor;  // [1]
    const int64_t* step;            // [1], counting from 1
};

StepInputs step_inputs(const KernelArgs& args) {
    const size_t n = args.in.size();
    return {.params = args.param<AdamWParams>(),
            .lr = args.in[n - 3].as<float>(),
            .grad_factor = args.in[n - 1].as<float>(),
            .step = args.in[n - 2].as<int64_t>()};
}

// In double, narrowed once.
__device__ __forceinline__ Step step_of(const StepInputs& in) {
    const double b1 = static_cast<double>(in.params.beta1), b2 = static_cast<double>(in.params.beta2);
    const double step = static_cast<double>(*in.step), rate = static_cast<double>(*in.lr);
    Step s;
    s.beta1 = in.params.beta1;
    s.beta2 = in.params.beta2;
    s.one_minus_beta1 = static_cast<float>(1 - b1);
    s.one_minus_beta2 = static_cast<float>(1 - b2);
    s.eps = in.params.eps;
    s.lr = *in.lr;
    s.decay = static_cast<float>(__dsub_rn(1, __dmul_rn(rate, static_cast<double>(in.params.weight_decay))));
    s.correction1 = static_cast<float>(1 - pow(b1, step));
    s.root_correction2 = static_cast<float>(sqrt(1 - pow(b2, step)));
    s.grad_factor = *in.grad_factor;
    return s;
}

// One thread computes it, for the powers cost more than the elements of a thread; the whole block calls.
__device__ __forceinline__ Step shared_step(const StepInputs& in) {
    __shared__ Step step;
    if (threadIdx.x == 0) step = step_of(in);
    __syncthreads();
    return step;
}

__device__ __forceinline__ void update(const Step& s, float step_size, float& p, float& m, float& v, float g) {
    const float grad = __fmul_rn(g, s.grad_factor);
    m = __fadd_rn(m, __fmul_rn(s.one_minus_beta1, __fsub_rn(grad, m)));
    v = __fadd_rn(__fmul_rn(s.beta2, v), __fmul_rn(__fmul_rn(s.one_minus_beta2, grad), grad));
    const float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), s.root_correction2), s.eps);
    p = __fsub_rn(__fmul_rn(p, s.decay), __fmul_rn(step_size, __fdiv_rn(m, denominator)));
}

// inout p, m, v [n]; g[n]
template <bool wide, typename P, typename T>
__global__ void __launch_bounds__(kThreads) update_elements(P* p, T* m, T* v, const T* g, StepInputs in, int64_t n) {
    constexpr int N = kWidthOf<P, T>;
    const Step s = shared_step(in);
    if (!isfinite(s.grad_factor)) return;
    const float step_size = __fdiv_rn(s.lr, s.correction1);
    const int64_t stride = int64_t{gridDim.x} * kThreads * N;
    for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N; i < n; i += stride) {
        const bool whole = wide && i + N <= n;
        float ps[N], ms[N], vs[N], gs[N];
        const auto load_all = [&](auto in_one) {
            load_part<in_one.value>(p, i, n, ps);
            load_part<in_one.value>(m, i, n, ms);
            load_part<in_one.value>(v, i, n, vs);
            load_part<in_one.value>(g, i, n, gs);
        };
        const auto store_all = [&](auto in_one) {
            store_part<in_one.value>(p, i, n, ps);
            store_part<in_one.value>(m, i, n, ms);
            store_part<in_one.value>(v, i, n, vs);
        };
        whole ? load_all(std::bool_constant<wide>{}) : load_all(std::false_type{});
#pragma unroll
        for (int j = 0; j < N; ++j) update(s, step_size, ps[j], ms[j], vs[j], gs[j]);
        whole ? store_all(std::bool_constant<wide>{}) : store_all(std::false_type{});
    }
}

constexpr int kOfLane = kStateBlock / kWarp;  // elements of a block that a lane has, side by side

struct Maps {
    float value[2][256];  // of m, of v
    MidpointTree tree[2];
};

// The whole block calls; it synchronises.
__device__ __forceinline__ void load_maps(Maps& maps) {
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kThreads) {
        maps.value[0][i] = kDeviceSignedMap.of[i];
        maps.value[1][i] = kDeviceUnsignedMap.of[i];
    }
    fill_tree(maps.tree[0], kDeviceSignedMap.of);
    fill_tree(maps.tree[1], kDeviceUnsignedMap.of);
    __syncthreads();
}

struct alignas(kOfLane) LaneCodes {
    uint8_t of[kOfLane];
};

// Codes at .. at + 7 of a range of n; those beyond it are 0.
template <bool whole>
__device__ __forceinline__ LaneCodes load_codes(const uint8_t* codes, int64_t at, int64_t n) {
    if constexpr (whole) {
        return *reinterpret_cast<const LaneCodes*>(codes + at);
    } else {
        LaneCodes lane;
#pragma unroll
        for (int i = 0; i < kOfLane; ++i) lane.of[i] = at + i < n ? codes[at + i] : uint8_t{0};
        return lane;
    }
}

template <bool whole>
__device__ __forceinline__ void store_codes(uint8_t* codes, int64_t at, int64_t n, const LaneCodes& lane) {
    if constexpr (whole) {
        *reinterpret_cast<LaneCodes*>(codes + at) = lane;
    } else {
#pragma unroll
        for (int i = 0; i < kOfLane; ++i)
            if (at + i < n) codes[at + i] = lane.of[i];
    }
}

// The codes of x / absmax and, by reference, the absmax of the warp's block. Elements beyond the range do not count.
__device__ __forceinline__ LaneCodes encode(const MidpointTree& tree, const float (&x)[kOfLane], int n_valid,
                                            float& absmax) {
    absmax = 0;
#pragma unroll
    for (int i = 0; i < kOfLane; ++i)
        if (i < n_valid) absmax = fmaxf(absmax, fabsf(x[i]));
    absmax = warp_reduce<Max>(absmax);
    const float divisor = absmax > 0 ? absmax : 1.0f;
    LaneCodes lane;
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) lane.of[i] = nearest_code(tree, __fdiv_rn(x[i], divisor));
    return lane;
}

struct Moments {
    uint8_t *m, *v;              // [n]
    float *m_absmax, *v_absmax;  // [ceil(n / kStateBlock)]
};

// The warp's block, of which this lane has elements at .. at + 7; `whole` if none lies beyond n.
template <bool whole, typename P>
__device__ __forceinline__ void update_block(P* p, const Moments& moments, const float* g, const Step& s,
                                             const Maps& maps, int64_t at, int64_t n) {
    const int64_t block = at / kStateBlock, left = n - at;
    const int n_valid = whole || left > kOfLane ? kOfLane : left > 0 ? static_cast<int>(left) : 0;
    LaneCodes m_codes = load_codes<whole>(moments.m, at, n), v_codes = load_codes<whole>(moments.v, at, n);
    float m_absmax = moments.m_absmax[block], v_absmax = moments.v_absmax[block];
    float ps[kOfLane], gs[kOfLane], m[kOfLane], v[kOfLane];
    load_part<whole>(p, at, n, ps);
    load_part<whole>(g, at, n, gs);

    const float step_size = __fdiv_rn(__fmul_rn(s.lr, s.root_correction2), s.correction1);
    const float eps = __fmul_rn(s.eps, s.root_correction2);
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
        const float grad = __fmul_rn(gs[i], s.grad_factor);
        m[i] = __fmul_rn(maps.value[0][m_codes.of[i]], m_absmax);
        v[i] = __fmul_rn(maps.value[1][v_codes.of[i]], v_absmax);
        m[i] = __fadd_rn(__fmul_rn(m[i], s.beta1), __fmul_rn(s.one_minus_beta1, grad));
        v[i] = __fadd_rn(__fmul_rn(v[i], s.beta2), __fmul_rn(__fmul_rn(s.one_minus_beta2, grad), grad));
        const float ratio = __fdiv_rn(m[i], __fadd_rn(__fsqrt_rn(v[i]), eps));
        ps[i] = __fmul_rn(__fsub_rn(ps[i], __fmul_rn(step_size, ratio)), s.decay);
    }
    m_codes = encode(maps.tree[0], m, n_valid, m_absmax);
    v_codes = encode(maps.tree[1], v, n_valid, v_absmax);

    store_part<whole>(p, at, n, ps);
    store_codes<whole>(moments.m, at, n, m_codes);
    store_codes<whole>(moments.v, at, n, v_codes);
    if (threadIdx.x % kWarp != 0) return;
    moments.m_absmax[block] = m_absmax;
    moments.v_absmax[block] = v_absmax;
}

// inout p[n], moments; g[n]
template <bool wide, typename P>
__global__ void __launch_bounds__(kThreads)
    update_blocks(P* p, Moments moments, const float* g, StepInputs in, int64_t n) {
    __shared__ Maps maps;
    load_maps(maps);
    const Step s = shared_step(in);
    if (!isfinite(s.grad_factor)) return;
    const int64_t step = int64_t{gridDim.x} * kThreads * kOfLane;
    const int before = static_cast<int>(threadIdx.x) % kWarp * kOfLane;  // elements of the block to the left
    for (int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kOfLane; at - before < n; at += step) {
        if (wide && at - before + kStateBlock <= n) update_block<wide>(p, moments, g, s, maps, at, n);
        else update_block<false>(p, moments, g, s, maps, at, n);
    }
}

// As many blocks as run at once: they loop over all the work, for each one first computes the step.
unsigned resident_blocks(const CudaContext& ctx, int64_t n_tasks, int of_sm) {
    const int64_t most = int64_t{of_sm} * ctx.device->n_sms;
    return static_cast<unsigned>(n_tasks < most ? n_tasks : most);
}

}  // namespace

void adamw(const CudaContext& ctx, const KernelArgs& args) {
    const int64_t n = args.out[0].n_elems();
    with_real(args.out[0].dtype, [&](auto parameter) {
        with_real(args.out[1].dtype, [&](auto real) {
            using P = decltype(parameter);
            using T = decltype(real);
            constexpr int N = kWidthOf<P, T>;
            P* p = args.out[0].as<P>();
            T *m = args.out[1].as<T>(), *v = args.out[2].as<T>();
            const T* g = args.in[3].as<T>();
            const int64_t p_bytes = N * int64_t{sizeof(P)}, bytes = N * int64_t{sizeof(T)};
            const bool all_wide = aligned(p, p_bytes) && aligned(m, bytes) && aligned(v, bytes) && aligned(g, bytes);
            with_bool(all_wide, [&](auto wide) {
                launch(ctx, update_elements<wide.value, P, T>,
                       resident_blocks(ctx, ceil_div(n, kThreads * N), kResident), kThreads, 0, p, m, v, g,
                       step_inputs(args), n);
            });
        });
    });
}

void adamw_8bit(const CudaContext& ctx, const KernelArgs& args) {
    const int64_t n = args.out[0].n_elems();
    const Moments moments{.m = args.out[1].as<uint8_t>(),
                          .v = args.out[2].as<uint8_t>(),
                          .m_absmax = args.out[3].as<float>(),
                          .v_absmax = args.out[4].as<float>()};
    const float* g = args.in[5].as<float>();
    with_real(args.out[0].dtype, [&](auto parameter) {
        using P = decltype(parameter);
        P* p = args.out[0].as<P>();
        const bool all_wide =
            aligned(p, 16) && aligned(g, 16) && aligned(moments.m, kOfLane) && aligned(moments.v, kOfLane);
        with_bool(all_wide, [&](auto wide) {
            launch(ctx, update_blocks<wide.value, P>,
                   resident_blocks(ctx, ceil_div(n, kThreads * kOfLane), kResident8bit), kThreads, 0, p, moments, g,
                   step_inputs(args), n);
        });
    });
}

}  // namespace ggq::cuda
