#include "models/convert/adapter_form.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ggq/error.h"
#include "ggq/io/input_file.h"
#include "models/convert/adapter_math.h"
#include "models/convert/gguf_adapter.h"
#include "models/convert/mlx_adapter.h"

namespace ggq {

namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();

// Of elements where both have them; what only one has is compared with zero.
double distance(const std::vector<float>& a, const Shape& of_a, double scale_a, const std::vector<float>& b,
                const Shape& of_b, double scale_b) {
    double most = 0, difference = 0;
    const auto at = [](const std::vector<float>& x, const Shape& shape, int64_t i, int64_t j) {
        return i < shape[0] && j < shape[1] ? double{x[static_cast<size_t>(i * shape[1] + j)]} : 0.0;
    };
    for (int64_t i = 0; i < std::max(of_a[0], of_b[0]); ++i)
        for (int64_t j = 0; j < std::max(of_a[1], of_b[1]); ++j) {
            const double x = scale_a * at(a, of_a, i, j), y = scale_b * at(b, of_b, i, j);
            most = std::max(most, std::abs(x));
            difference = std::max(difference, std::abs(x - y));
        }
    return most > 0 ? difference / most : difference > 0 ? kFar : 0;
}

// The first r rows of A or columns of B, for what is behind them in A has no effect.
FileTensor first_rows(FileTensor a, int64_t r) {
    a.shape[0] = std::min(a.shape[0], r);
    return a;
}

double distance(const std::string& module, const Adapter& one, const Adapter& other) {
    const LoraTensors &x = one.modules.at(module), &y = other.modules.at(module);
    if (x.a.shape[1] != y.a.shape[1] || x.b.shape[0] != y.b.shape[0] || x.is_table != y.is_table) return kFar;
    const int64_t r = std::min(x.a.shape[0], y.a.shape[0]);
    const FileTensor a = first_rows(x.a, r), b = first_rows(y.a, r);
    double far = distance(as_floats(a), a.shape, 1, as_floats(b), b.shape, 1);
    far = std::max(far, distance(as_floats(x.b), x.b.shape, lora_scale(module, one.config), as_floats(y.b), y.b.shape,
                                 lora_scale(module, other.config)));
    if (!x.magnitude.data && !y.magnitude.data) return far;
    if (!x.magnitude.data || !y.magnitude.data) return kFar;
    const Shape row{1, x.magnitude.shape.n_elems()};
    return std::max(far, distance(as_floats(x.magnitude), row, 1, as_floats(y.magnitude), row, 1));
}

}  // namespace

AdapterForm form_of_adapter(const std::filesystem::path& path) {
    if (is_gguf(path)) return AdapterForm::gguf;
    return is_folder(path) && is_there(path / kMlxTensorFile) ? AdapterForm::mlx : AdapterForm::peft;
}

Adapter open_adapter(const std::filesystem::path& path, const LlamaConfig* base, const StopAsked& stop) {
    const AdapterForm form = form_of_adapter(path);
    if (form == AdapterForm::peft) return read_adapter(path, stop);
    if (form == AdapterForm::mlx) return read_mlx_adapter(path);
    require(base != nullptr, "{}: is an adapter of llama.cpp, which cannot be read without its `model`", path.string());
    return read_gguf_adapter(path, *base);
}

double adapter_distance(const Adapter& one, const Adapter& other) {
    const auto same_keys = [](const auto& a, const auto& b) {
        return std::ranges::equal(
            a, b, {}, [](const auto& x) { return x.first; }, [](const auto& x) { return x.first; });
    };
    if (!same_keys(one.modules, other.modules) || !same_keys(one.whole, other.whole)) return kFar;
    double far = 0;
    for (const auto& [module, tensors] : one.modules) far = std::max(far, distance(module, one, other));
    for (const auto& [module, t] : one.whole) {
        const FileTensor& u = other.whole.at(module);
        const Shape row{1, t.shape.n_elems()};
        far = std::max(far, t.shape == u.shape ? distance(as_floats(t), row, 1, as_floats(u), row, 1) : kFar);
    }
    return far;
}

}  // namespace ggq
