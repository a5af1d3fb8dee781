// What adapters make of one weight. Of each adapter in turn, in float32, by PEFT's arithmetic:
//
//   LoRA       w + s b a                     of a table: w + s (b a)^T
//   DoRA       m (w + s b a) / |w + s b a|   row by row
//   as a whole (modules_to_save)             the adapter's own tensor
//
// Source: peft/tuners/lora/layer.py (merge), dora.py.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "ggq/backend.h"
#include "models/adapter_files.h"
#include "models/weights.h"

namespace ggq {

struct ScaledAdapter {
    const Adapter* adapter = nullptr;
    double scale = 1;  // on top of alpha / r
};

// w += s b a for some rows of a weight, by a program for each shape that is asked for.
class LowRankSums {
public:
    explicit LowRankSums(Backend& cpu);
    ~LowRankSums();

    // w[n_rows, n_columns], b[n_rows, r], a[r, n_columns]
    void add(float* w, const float* b, const float* a, double scaling, int64_t n_rows, int64_t n_columns, int64_t r);

private:
    struct Sum;
    Backend& cpu_;
    std::map<std::tuple<int64_t, int64_t, int64_t>, std::unique_ptr<Sum>> sums_;
};

class WeightUpdate {
public:
    // Throws Error, by name, for tensors of an adapter that do not fit the weight. `sums` must outlive this.
    WeightUpdate(LowRankSums& sums, Backend& cpu, const WeightRow& row, const std::vector<ScaledAdapter>& adapters);

    bool changes() const { return !steps_.empty(); }

    // Rows [first, first + n) of the weight.
    void apply(int64_t first, int64_t n, float* rows) const;

private:
    struct Step {
        std::vector<float> a, b, magnitude;
        int64_t r = 0;
        double scaling = 1;
        std::vector<float> whole;
    };

    Step low_rank_step(Backend& cpu, const LoraTensors& tensors, const ScaledAdapter& of) const;
    void restore_magnitude(const std::vector<float>& magnitude, int64_t first, int64_t n, float* rows) const;

    LowRankSums& sums_;
    WeightRow row_;
    int64_t n_columns_;
    std::vector<Step> steps_;
};

// Whether an adapter changes a module at all.
bool touches(const Adapter& adapter, const std::string& module);

// Floats of host memory as another float type, rounded to nearest even.
void convert_floats(Backend& cpu, DType from, const void* in, DType to, void* out, int64_t n);

}  // namespace ggq
