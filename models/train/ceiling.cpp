#include "models/train/ceiling.h"

#include <algorithm>

#include "ggq/op_table.h"
#include "kernels/params.h"
#include "kernels/rounding.h"
#include "models/clock.h"
#include "models/initial_values.h"

namespace ggq {

namespace {

// Large ones come nearer to what the device can do.
constexpr int64_t kGpuSides[] = {8192, 4096, 2048}, kCpuSides[] = {512, 256};
constexpr int kRuns = 3;

// y = x w^T of one size at the start of the arena.
class Product {
public:
    Product(Backend& backend, std::span<std::byte> arena, int64_t side, DType real)
        : backend_(backend),
          side_(side),
          type_{real, {side, side}, {}},
          bytes_(round_up(type_.bytes(), kArenaAlignment)) {
        const TensorType in[] = {type_, type_};
        workspace_ = backend.workspace_bytes({matmul_op, in, {&type_, 1}, params_, "the ceiling"});
        fits_ = 3 * bytes_ + workspace_ <= std::ssize(arena);
        for (int i = 0; i < 3 && fits_; ++i) views_[i] = make_view(arena.data() + i * bytes_, real, type_.shape);
        if (fits_) scratch_ = arena.subspan(static_cast<size_t>(3 * bytes_), static_cast<size_t>(workspace_));
    }

    bool fits() const { return fits_; }

    // Random numbers: a GPU multiplies zeros faster.
    void fill() {
        const std::vector<float> values = normal_values(side_, 1, 1, "ceiling");
        std::vector<std::byte> row(static_cast<size_t>(type_.bytes() / side_));
        const View from = make_view(const_cast<float*>(values.data()), DType::f32, {side_}),
                   to = make_view(row.data(), type_.dtype, {side_});
        const ParamBlock cast(CastParams{type_.dtype});
        make_cpu_backend(1)->run(cast_op, {{&to, 1}, {&from, 1}, &cast, {}});
        for (const View& v : {views_[0], views_[1]})
            for (int64_t i = 0; i < side_; ++i)
                backend_.copy_in(v.as<std::byte>() + i * std::ssize(row), row.data(), std::ssize(row));
        backend_.synchronize();
    }

    double seconds() {
        const auto start = Clock::now();
        backend_.stamp(Lane::compute, 0);
        backend_.run(matmul_op, {{&views_[2], 1}, {views_, 2}, &params_, scratch_});
        backend_.stamp(Lane::compute, 1);
        backend_.synchronize();
        const double stamped = backend_.seconds_between(0, 1);
        return stamped > 0 ? stamped : seconds_since(start);
    }

private:
    Backend& backend_;
    int64_t side_;
    TensorType type_;
    int64_t bytes_, workspace_ = 0;
    bool fits_ = false;
    ParamBlock params_ = {};
    View views_[3];
    std::span<std::byte> scratch_;
};

}  // namespace

double measured_ceiling(ProgramSet& set, DType real) {
    Backend& backend = set.backend();
    const std::span<const int64_t> sides =
        backend.reads_host_memory() ? std::span<const int64_t>(kCpuSides) : kGpuSides;
    for (int64_t side : sides) {
        Product product(backend, set.idle_arena(), side, real);
        if (!product.fits()) continue;
        product.fill();
        product.seconds();  // libraries load their kernels
        double best = product.seconds();
        for (int i = 1; i < kRuns; ++i) best = std::min(best, product.seconds());
        const auto n = static_cast<double>(side);
        return best > 0 ? 2 * n * n * n / best : 0;
    }
    return 0;
}

}  // namespace ggq
