#include "models/merge/weight_update.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ggq/error.h"
#include "ggq/ops.h"
#include "ggq/program_set.h"
#include "ggq/transfer.h"

namespace ggq {

struct LowRankSums::Sum {
    Sum(Backend& cpu, int64_t n_rows, int64_t n_columns, int64_t r)
        : set(cpu),
          w(declare("w", {n_rows, n_columns})),
          b(declare("b", {n_rows, r})),
          a(declare("a", {r, n_columns})),
          s(declare("s", {1})) {
        auto graph = std::make_shared<Graph>();
        const Tensor update = matmul(graph->bind(b), transpose(graph->bind(a), 0, 1));
        sum = ggq::add(graph->bind(w), scale_by(update, graph->bind(s)));
        graph->mark_output(sum);
        program = &set.add("merge", graph);
        set.allocate();
    }

    Buffer& declare(const char* name, const Shape& shape) {
        return set.store().declare(name, Kind::input, {DType::f32, shape, {}});
    }

    ProgramSet set;
    Buffer &w, &b, &a, &s;
    Tensor sum;
    Program* program = nullptr;
};

LowRankSums::LowRankSums(Backend& cpu) : cpu_(cpu) {}
LowRankSums::~LowRankSums() = default;

void LowRankSums::add(float* w, const float* b, const float* a, double scaling, int64_t n_rows, int64_t n_columns,
                      int64_t r) {
    auto& place = sums_[{n_rows, n_columns, r}];
    if (!place) place = std::make_unique<Sum>(cpu_, n_rows, n_columns, r);
    Store& store = place->set.store();
    store.write(place->w, w);
    store.write(place->b, b);
    store.write(place->a, a);
    write_scalar(store, place->s, static_cast<float>(scaling));
    place->program->run();
    place->program->read(place->sum, w);
}

void convert_floats(Backend& cpu, DType from, const void* in, DType to, void* out, int64_t n) {
    Store store(cpu);
    const Buffer& buffer = store.declare("floats", Kind::constant, {to, {n}, {}});
    store.allocate();
    write_converted(store, buffer, from, in);
    store.read(buffer, out);
}

namespace {

std::vector<float> floats_of(Backend& cpu, const FileTensor& t) {
    std::vector<float> values(static_cast<size_t>(t.shape.n_elems()));
    convert_floats(cpu, t.dtype, t.data, DType::f32, values.data(), t.shape.n_elems());
    return values;
}

// x[m,n] -> [n,m]
std::vector<float> transposed(const std::vector<float>& x, int64_t m, int64_t n) {
    std::vector<float> y(x.size());
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) y[static_cast<size_t>(j * m + i)] = x[static_cast<size_t>(i * n + j)];
    return y;
}

void check_finite(const FileTensor& t, const std::string& name, const Adapter& adapter) {
    require(all_finite(t.dtype, t.data, t.shape.n_elems()), "{}: {} has NaN or infinite values", adapter.file.string(),
            name);
}

void check_shape(const FileTensor& t, const Shape& wanted, const std::string& name, const Adapter& adapter) {
    require(t.shape == wanted, "{}: {} is {} in the adapter, this model needs {}; it was trained on another one",
            adapter.file.string(), name, to_string(t.shape), to_string(wanted));
    check_finite(t, name, adapter);
}

}  // namespace

bool touches(const Adapter& adapter, const std::string& module) {
    return adapter.modules.contains(module) || adapter.whole.contains(module);
}

WeightUpdate::WeightUpdate(LowRankSums& sums, Backend& cpu, const WeightRow& row,
                           const std::vector<ScaledAdapter>& adapters)
    : sums_(sums), row_(row), n_columns_(row.shape[row.shape.rank - 1]) {
    if (row.role == WeightRole::bias) return;
    for (const ScaledAdapter& of : adapters) {
        const std::string module = row.module();
        if (const auto whole = of.adapter->whole.find(module); whole != of.adapter->whole.end()) {
            check_shape(whole->second, row.shape, row.name, *of.adapter);
            Step step;
            step.whole = floats_of(cpu, whole->second);
            steps_ = {std::move(step)};  // what came before counts no more
        }
        if (const auto low_rank = of.adapter->modules.find(module); low_rank != of.adapter->modules.end())
            steps_.push_back(low_rank_step(cpu, low_rank->second, of));
    }
}

WeightUpdate::Step WeightUpdate::low_rank_step(Backend& cpu, const LoraTensors& tensors,
                                               const ScaledAdapter& of) const {
    const std::string module = row_.module();
    Step step;
    step.r = lora_rank(module, of.adapter->config);
    step.scaling = of.scale * lora_scale(module, of.adapter->config);
    const int64_t out = row_.shape[0], in = n_columns_;
    const bool is_table = tensors.is_table;
    check_shape(tensors.a, {step.r, is_table ? out : in}, module + ".lora_A", *of.adapter);
    check_shape(tensors.b, {is_table ? in : out, step.r}, module + ".lora_B", *of.adapter);
    step.a = floats_of(cpu, tensors.a);
    step.b = floats_of(cpu, tensors.b);
    if (is_table) {  // (b a)^T = a^T b^T
        std::swap(step.a, step.b);
        step.a = transposed(step.a, in, step.r);
        step.b = transposed(step.b, step.r, out);
    }
    if (!tensors.magnitude.data) return step;
    check_finite(tensors.magnitude, module + ".lora_magnitude_vector", *of.adapter);
    step.magnitude = floats_of(cpu, tensors.magnitude);
    return step;
}

void WeightUpdate::restore_magnitude(const std::vector<float>& magnitude, int64_t first, int64_t n, float* rows) const {
    for (int64_t i = 0; i < n; ++i) {
        float* row = rows + i * n_columns_;
        double squares = 0;
        for (int64_t j = 0; j < n_columns_; ++j) squares += double{row[j]} * double{row[j]};
        require(squares > 0, "{}: a row of the sum is zero, so it has no direction for DoRA's magnitude", row_.name);
        const auto factor = static_cast<float>(double{magnitude[static_cast<size_t>(first + i)]} / std::sqrt(squares));
        for (int64_t j = 0; j < n_columns_; ++j) row[j] *= factor;
    }
}

void WeightUpdate::apply(int64_t first, int64_t n, float* rows) const {
    for (const Step& step : steps_) {
        if (!step.whole.empty())
            std::copy_n(step.whole.begin() + static_cast<std::ptrdiff_t>(first * n_columns_), n * n_columns_, rows);
        if (step.r > 0)
            sums_.add(rows, step.b.data() + first * step.r, step.a.data(), step.scaling, n, n_columns_, step.r);
        if (!step.magnitude.empty()) restore_magnitude(step.magnitude, first, n, rows);
    }
}

}  // namespace ggq
