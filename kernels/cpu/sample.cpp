// Choosing a token of each row of logits, as kernels/sampling.h defines it. What is kept of a row ends at a key, found
// by its upper digit and then, among the tokens that have that one, by its lower. Floor: the bytes of the logits.
#include "kernels/sampling.h"

#include "kernels/cpu/real.h"
#include "kernels/cpu/workspace.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

using namespace sampling;

struct Sums {
    uint64_t count = 0, weight = 0;
};

// A row of logits, what is asked of it, and the memory to answer in.
struct Row {
    int64_t n;  // tokens that can be chosen
    Settings settings;
    const int32_t* recent;  // the last tokens
    int n_recent;
    uint32_t* keys;   // [n]; at first the bits of the logits
    Sums* of_digits;  // [kDigits]
};

template <typename T>
void copy_logits(const Row& row, const T* logits) {
    for (int64_t i = 0; i < row.n; ++i) row.keys[i] = bits_of(static_cast<float>(logits[i]));
}

// Each distinct token once, where it is met first.
void penalize(const Row& row) {
    for (int i = 0; i < row.n_recent; ++i) {
        int count = 0, first = row.n_recent;
        for (int j = 0; j < row.n_recent; ++j) {
            if (row.recent[j] != row.recent[i]) continue;
            ++count;
            first = j < first ? j : first;
        }
        uint32_t* at = row.keys + row.recent[i];
        if (first == i && row.recent[i] >= 0 && row.recent[i] < row.n)
            *at = bits_of(penalized(of_bits(*at), count, row.settings));
    }
}

// The place of the first of the largest; -1 where one is not finite, of which x - x is not 0.
int64_t place_of_largest(const Row& row) {
    int64_t best = 0;
    bool finite = true;
    for (int64_t i = 0; i < row.n; ++i) {
        const float x = of_bits(row.keys[i]);
        finite &= x - x == 0;
        if (x > of_bits(row.keys[best])) best = i;
    }
    return finite ? best : -1;
}

// Of the tokens with keys from `first` on, as many as `of_digits` has: sums by digit, of keys that are 1 << shift
// apart.
void sum_by_digit(const Row& row, uint32_t first, int shift) {
    for (uint32_t d = 0; d < kDigits; ++d) row.of_digits[d] = {};
    const bool weighs = row.settings.top_p < 1;
    for (int64_t i = 0; i < row.n; ++i) {
        const uint32_t digit = (row.keys[i] - first) >> shift;
        if (digit >= kDigits) continue;
        ++row.of_digits[digit].count;
        if (weighs) row.of_digits[digit].weight += weight_of(row.keys[i], 1);
    }
}

struct Crossing {
    uint32_t digit;
    Sums before;
};

// The first digit with which the sum of what `part` names reaches `need`, or the last one.
Crossing crossing(const Row& row, Sums before, uint64_t Sums::*part, uint64_t need) {
    uint32_t digit = 0;
    for (; digit < kDigits - 1 && before.*part + row.of_digits[digit].*part < need; ++digit) {
        before.count += row.of_digits[digit].count;
        before.weight += row.of_digits[digit].weight;
    }
    return {digit, before};
}

// Of the order of keys, the place where `part` reaches `need`; `sums` becomes what is before the tokens of that key.
uint32_t key_at(const Row& row, uint64_t Sums::*part, uint64_t need, Sums& sums) {
    sum_by_digit(row, 0, kDigitBits);
    const Crossing upper = crossing(row, {}, part, need);
    const uint32_t first = upper.digit << kDigitBits;
    sum_by_digit(row, first, 0);
    const Crossing lower = crossing(row, upper.before, part, need);
    sums = lower.before;
    return first + lower.digit;
}

uint64_t weight_of_all(const Row& row) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < row.n; ++i) sum += weight_of(row.keys[i], 1);
    return sum;
}

Cut cut_of(const Row& row) {
    const auto k = static_cast<int64_t>(row.settings.top_k);
    const bool counts = k > 0 && k < row.n;
    Cut cut;
    Sums before;
    if (counts) {
        cut.key = key_at(row, &Sums::count, static_cast<uint64_t>(k), before);
        cut.ties = static_cast<uint64_t>(k) - before.count;
    }
    if (!(row.settings.top_p < 1)) return cut;
    const uint64_t total = counts ? before.weight + cut.ties * weight_of(cut.key, 1) : weight_of_all(row);
    const uint64_t need = needed(row.settings.top_p, total);
    cut.key = key_at(row, &Sums::weight, need, before);
    const uint64_t each = weight_of(cut.key, 1);
    cut.ties = (need - before.weight + each - 1) / each;
    return cut;
}

// f(token, weight) of those that are left, in order, until it returns false.
template <typename F>
GGQ_INLINE void for_left(const Row& row, Cut cut, const F& f) {
    for (int64_t i = 0; i < row.n; ++i) {
        const uint32_t key = row.keys[i];
        if (key > cut.key || (key == cut.key && cut.ties == 0)) continue;
        if (key == cut.key) --cut.ties;
        if (distance_of(key) <= row.settings.farthest && !f(i, weight_of(key, row.settings.inverse_temperature)))
            return;
    }
}

int64_t choose(const Row& row, uint64_t seed, int64_t n_earlier) {
    if (row.settings.penalizes()) penalize(row);
    const int64_t best = place_of_largest(row);
    if (best < 0 || row.settings.inverse_temperature == INFINITY) return best;
    const float top = of_bits(row.keys[best]);
    for (int64_t i = 0; i < row.n; ++i) row.keys[i] = key_of(top, of_bits(row.keys[i]));
    const Cut cut = cut_of(row);
    uint64_t total = 0;
    for_left(row, cut, [&](int64_t, uint64_t weight) {
        total += weight;
        return true;
    });
    uint64_t rest = drawn(total, seed, n_earlier);
    int64_t token = best;
    for_left(row, cut, [&](int64_t i, uint64_t weight) {
        token = i;
        if (rest < weight) return false;
        rest -= weight;
        return true;
    });
    return token;
}

}  // namespace

void sample(const CpuContext& ctx, const KernelArgs& args) {
    const View &logits = args.in[0], &log = args.in[5];
    const int64_t V = logits.shape[1], S = log.shape[1], n_bytes = sample_workspace(V, 1);
    ctx.threads->run(logits.shape[0], [&](int64_t t, int worker) {
        const int64_t r = args.in[1].as<int32_t>()[t];
        int32_t& token = args.out[0].as<int32_t>()[t];
        token = -1;
        if (r < 0 || r >= log.shape[0]) return;
        const int64_t n_earlier = args.in[4].as<int32_t>()[r] + 1, n_kept = n_earlier < S ? n_earlier : S;
        const int64_t n_recent = n_kept < kWindow ? n_kept : kWindow;
        auto* memory = args.workspace.data() + worker * n_bytes;
        Row row{V,
                args.in[2].as<Settings>()[r],
                log.as<int32_t>() + r * S + n_kept - n_recent,
                static_cast<int>(n_recent),
                reinterpret_cast<uint32_t*>(memory + kDigits * sizeof(Sums)),
                reinterpret_cast<Sums*>(memory)};
        if (row.settings.vocabulary >= 1 && row.settings.vocabulary < static_cast<float>(V))
            row.n = static_cast<int64_t>(row.settings.vocabulary);
        with_real(logits.dtype, [&](auto tag) { copy_logits(row, logits.as<decltype(tag)>() + t * V); });
        token = static_cast<int32_t>(choose(row, static_cast<uint64_t>(args.in[3].as<int64_t>()[r]), n_earlier));
    });
}

}  // namespace ggq::cpu::GGQ_ISA
