// Choosing a token of each row of logits, as kernels/sampling.h defines it. A row is cut into parts, a block each. One
// kernel finds the largest logit of each part; in the other, which has the token already where the likeliest is asked
// for, the blocks of a row
//   count tokens, and add up what they weigh, by the upper digit of their keys         -> where top-k, top-p end
//   count those with the upper digit at which top-k (top-p) ends by their lower digit  -> the key, and its tokens left
//   add up what is left of each part                                                   -> the part, thread, token drawn
// and meet after each of these steps: of the second kernel there are no more blocks than run at a time. All sums are of
// integers. Floor: the bytes of the logits; beyond it up to four rounds through the L2 cache, about a microsecond each.
#include "kernels/cuda/sample.cuh"

#include <algorithm>

namespace ggq::cuda {

namespace {

using namespace choosing;

constexpr unsigned kEach = kDigits / kThreads;  // digits of a thread

template <typename T>
__global__ void __launch_bounds__(kThreads) find_largest(const Call call, const T* logits) {
    __shared__ Penalties penalties;
    begin_dependent();
    const int r = call.row();
    if (r < 0) return;
    const Part<T> part(logits, call, r, &penalties);
    if (part.penalizes) penalties.fill(call, r);
    uint64_t largest = 0;
    part.for_each([&](int64_t id, float logit) {
        const uint64_t rank = rank_of(logit, id);
        if (rank > largest) largest = rank;
    });
    largest = block_reduce<Max, kThreads>(largest);
    SampleRow& row = call.scratch[blockIdx.y];
    if (threadIdx.x == 0) row.largest[blockIdx.x] = largest;
    auto* const zeroed = reinterpret_cast<uint32_t*>(&row);
    for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < offsetof(SampleRow, largest) / 4;
         i += gridDim.x * kThreads)
        zeroed[i] = 0;
}

// A sum of 64 bits in two words, of which the upper one is added to only where that changes it.
__device__ __forceinline__ void add_to(uint32_t* low, uint32_t* high, uint64_t x) {
    const auto part = static_cast<uint32_t>(x);
    const uint32_t carried = part > ~atomicAdd(low, part) ? 1 : 0, rest = static_cast<uint32_t>(x >> 32) + carried;
    if (rest > 0) atomicAdd(high, rest);
}

struct Tables {
    uint32_t counts[kDigits], low[kDigits], high[kDigits];
};

struct Crossing {
    uint32_t digit;
    Sums before;
};

// What a block does once the largest logit is known; its threads go through all of it together.
template <typename T>
struct Choice {
    const Part<T>& part;
    SampleRow& row;
    Tables& tables;
    float top;
    uint32_t round = 0;

    __device__ bool weighs() const { return part.settings.top_p < 1; }
    __device__ void meet() { choosing::meet(row, ++round); }
    __device__ static uint64_t of(const Sums& sums, bool by_weight) { return by_weight ? sums.weight : sums.count; }

    __device__ void clear_tables() const {
        for (unsigned d = threadIdx.x; d < kDigits; d += kThreads)
            tables.counts[d] = tables.low[d] = tables.high[d] = 0;
        __syncthreads();
    }

    __device__ void sum_by_upper_digit() {
        clear_tables();
        part.for_each([&](int64_t, float logit) {
            const uint32_t key = key_of(top, logit), digit = key >> kDigitBits;
            atomicAdd(&tables.counts[digit], 1);
            if (!weighs()) return;
            if (const uint64_t weight = weight_of(key, 1)) add_to(&tables.low[digit], &tables.high[digit], weight);
        });
        __syncthreads();
        for (unsigned d = threadIdx.x; d < kDigits; d += kThreads) {
            if (tables.counts[d] == 0) continue;
            atomicAdd(&row.counts[0][d], tables.counts[d]);
            const auto weight = static_cast<unsigned long long>(tables.high[d]) << 32 | tables.low[d];
            if (weight > 0) atomicAdd(&row.weights[d], weight);
        }
        meet();
    }

    // Of the tokens with keys from `first` on that differ in the lower digit.
    __device__ void count_by_lower_digit(uint32_t first, uint32_t* counts) {
        part.for_each([&](int64_t, float logit) {
            const uint32_t digit = key_of(top, logit) - first;
            if (digit < kDigits) atomicAdd(&counts[digit], 1);
        });
        meet();
    }

    // The first digit with which a sum reaches `need`; sums_of(digit) are those of one.
    template <typename F>
    __device__ Crossing crossing(const Sums& earlier, bool by_weight, uint64_t need, const F& sums_of) const {
        __shared__ Crossing found;
        Sums each[kEach], mine;
#pragma unroll
        for (unsigned e = 0; e < kEach; ++e) mine.add(each[e] = sums_of(threadIdx.x * kEach + e));
        const Sums up_to = sums_up_to(mine);
        Sums before = sums_of_warps(of_lane(up_to, kWarp - 1)).before;
        before.add({up_to.count - mine.count, up_to.weight - mine.weight});
        before.add(earlier);
        if (of(before, by_weight) < need && of(before, by_weight) + of(mine, by_weight) >= need) {
            uint32_t passed = 0;
#pragma unroll
            for (unsigned e = 0; e < kEach; ++e)
                if (passed == e && of(before, by_weight) + of(each[e], by_weight) < need) before.add(each[e]), ++passed;
            found = {threadIdx.x * kEach + passed, before};
        }
        __syncthreads();
        const Crossing result = found;
        __syncthreads();
        return result;
    }

    __device__ Sums of_upper(uint32_t d) const { return {__ldcg(&row.counts[0][d]), __ldcg(&row.weights[d])}; }

    __device__ uint64_t weight_of_all() const {
        uint64_t sum = 0;
        for (unsigned d = threadIdx.x; d < kDigits; d += kThreads) sum += of_upper(d).weight;
        return block_reduce<Sum, kThreads>(sum);
    }

    // The key at which a sum in the order of keys reaches `need`, and what comes before it.
    __device__ uint32_t key_at(bool by_weight, uint64_t need, uint32_t* counts, Sums& before) {
        const Crossing upper = crossing({}, by_weight, need, [&](uint32_t d) { return of_upper(d); });
        const uint32_t first = upper.digit << kDigitBits;
        count_by_lower_digit(first, counts);
        const Crossing lower = crossing(upper.before, by_weight, need, [&](uint32_t d) {
            const uint64_t count = __ldcg(&counts[d]);
            return Sums{count, count > 0 && weighs() ? count * weight_of(first + d, 1) : 0};
        });
        before = lower.before;
        return first + lower.digit;
    }

    __device__ Cut cut() {
        const auto k = static_cast<int64_t>(part.settings.top_k);
        const bool counts = k > 0 && k < part.n;
        Cut cut;
        if (!counts && !weighs()) return cut;
        Sums before;
        sum_by_upper_digit();
        if (counts) {
            cut.key = key_at(false, static_cast<uint64_t>(k), row.counts[1], before);
            cut.ties = static_cast<uint64_t>(k) - before.count;
        }
        if (!weighs()) return cut;
        const uint64_t total = counts ? before.weight + cut.ties * weight_of(cut.key, 1) : weight_of_all();
        const uint64_t need = needed(part.settings.top_p, total);
        cut.key = key_at(true, need, row.counts[2], before);
        const uint64_t each = weight_of(cut.key, 1);
        cut.ties = (need - before.weight + each - 1) / each;
        return cut;
    }

    // Of a token: what it weighs if it is left whatever its place, or that it is one of those at the cut.
    __device__ Sums left(float logit, const Cut& cut) const {
        const uint32_t key = key_of(top, logit);
        if (key >= cut.key) return {key == cut.key ? uint64_t{1} : 0, 0};
        return {0, distance_of(key) <= part.settings.farthest ? weight_of(key, part.settings.inverse_temperature) : 0};
    }

    // What is left of the parts before this one, and of all.
    __device__ SumsOfWarps sums_of_parts(const Sums& own) {
        __shared__ Sums of_part[kMostSampleParts];
        if (threadIdx.x == 0) row.ties[blockIdx.x] = own.count, row.weight[blockIdx.x] = own.weight;
        meet();
        if (threadIdx.x < gridDim.x)
            of_part[threadIdx.x] = {__ldcg(&row.ties[threadIdx.x]), __ldcg(&row.weight[threadIdx.x])};
        __syncthreads();
        SumsOfWarps sums;
        for (unsigned p = 0; p < gridDim.x; ++p) {
            if (p < blockIdx.x) sums.before.add(of_part[p]);
            sums.all.add(of_part[p]);
        }
        return sums;
    }

    // A warp has neighbouring tokens here. One of all blocks writes the token.
    __device__ void draw(const Cut& cut, uint64_t seed, int64_t n_earlier, int32_t* token) {
        const int64_t each = ceil_div(part.last - part.first, int64_t{kWarps});
        const int64_t begin = min(part.last, part.first + threadIdx.x / kWarp * each),
                      end = min(part.last, begin + each);
        const int lane = threadIdx.x % kWarp;
        Sums mine;
        part.template for_range<kWarp>(begin + lane, end, [&](int64_t, float logit) { mine.add(left(logit, cut)); });
        const Sums of_warp = of_lane(sums_up_to(mine), kWarp - 1);
        const SumsOfWarps of_block = sums_of_warps(of_warp), of_row = sums_of_parts(of_block.all);
        Sums before = of_row.before, after;
        before.add(of_block.before);
        after = before;
        after.add(of_warp);
        const bool tie_left = cut.key < kKeys && distance_of(cut.key) <= part.settings.farthest;
        const uint64_t of_tie = tie_left ? weight_of(cut.key, part.settings.inverse_temperature) : 0;
        const auto passed = [&](const Sums& sums) { return sums.weight + min(sums.count, cut.ties) * of_tie; };
        const uint64_t goal = drawn(passed(of_row.all), seed, n_earlier);
        if (goal < passed(before) || goal >= passed(after)) return;
        for (int64_t first = begin; first < end; first += kWarp * kInFlight) {
            Sums own[kInFlight];
#pragma unroll
            for (int i = 0; i < kInFlight; ++i)
                if (const int64_t id = first + i * kWarp + lane; id < end) own[i] = left(part.at(id), cut);
#pragma unroll
            for (int i = 0; i < kInFlight; ++i) {
                const Sums up_to = sums_up_to(own[i]);
                Sums there = before;
                there.add(up_to);
                if (const unsigned reached = __ballot_sync(0xffffffffu, goal < passed(there))) {
                    if (lane == __ffs(reached) - 1) *token = static_cast<int32_t>(first + i * kWarp + lane);
                    return;
                }
                before.add(of_lane(up_to, kWarp - 1));
            }
        }
    }
};

template <typename T>
__global__ void __launch_bounds__(kThreads, 3) choose(const Call call, const T* logits, unsigned n_firsts) {
    __shared__ Penalties penalties;
    __shared__ Tables tables;
    begin_dependent();
    const int r = call.row();
    int32_t* const token = call.tokens + blockIdx.y;
    SampleRow& row = call.scratch[blockIdx.y];
    const uint64_t rank = r >= 0 && threadIdx.x < n_firsts ? row.largest[threadIdx.x] : 0;
    const int best = r < 0 ? -1 : token_of(block_reduce<Max, kThreads>(rank));
    if (best < 0 || isinf(call.settings[r].inverse_temperature)) {
        if (blockIdx.x == 0 && threadIdx.x == 0) *token = best;
        return;
    }
    const Part<T> part(logits, call, r, &penalties);
    if (part.penalizes) penalties.fill(call, r);
    Choice<T> choice{part, row, tables, part.at(best)};
    const Cut cut = choice.cut();
    choice.draw(cut, static_cast<uint64_t>(call.seeds[r]), int64_t{call.positions[r]} + 1, token);
}

unsigned blocks_a_row(int64_t n_blocks, int64_t n_rows) {
    return static_cast<unsigned>(std::clamp<int64_t>(n_blocks / n_rows, 1, kMostSampleParts));
}

template <typename T>
void sample_rows(const CudaContext& ctx, const Call& call, const T* logits, int64_t n_rows) {
    const auto y = static_cast<unsigned>(n_rows);
    const unsigned n_firsts = blocks_a_row(int64_t{kWarps} * ctx.device->n_sms, n_rows);
    launch_dependent(ctx, find_largest<T>, dim3(n_firsts, y), dim3(kThreads), 0, call, logits);
    // Blocks of a row wait for each other, so all rows' have to run at a time, or none waits.
    int n_on_sm = 0;
    GGQ_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n_on_sm, choose<T>, kThreads, 0));
    const dim3 grid(blocks_a_row(int64_t{n_on_sm} * ctx.device->n_sms, n_rows), y);
    launch_dependent(ctx, choose<T>, grid, dim3(kThreads), 0, call, logits, n_firsts);
}

}  // namespace

void sample(const CudaContext& ctx, const KernelArgs& args) {
    const View &logits = args.in[0], &log = args.in[5];
    const Call call{.rows = args.in[1].as<int32_t>(),
                    .settings = args.in[2].as<Settings>(),
                    .seeds = args.in[3].as<int64_t>(),
                    .positions = args.in[4].as<int32_t>(),
                    .log = log.as<int32_t>(),
                    .n_rows = log.shape[0],
                    .n_log = log.shape[1],
                    .V = logits.shape[1],
                    .scratch = reinterpret_cast<SampleRow*>(args.workspace.data()),
                    .tokens = args.out[0].as<int32_t>()};
    with_real(logits.dtype, [&](auto tag) {
        using T = decltype(tag);
        sample_rows(ctx, call, logits.as<T>(), logits.shape[0]);
    });
}

}  // namespace ggq::cuda
