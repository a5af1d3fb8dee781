// An MLP over tiles of its rows: the loss and the gradients of the whole, to rounding, dropout included.
#include <doctest/doctest.h>

#include <cmath>

#include "ggq/transfer.h"
#include "tests/gpu.h"
#include "tests/small_llama.h"

namespace ggq::test {

namespace {

constexpr int64_t kTokens = 120;

struct Gradients {
    double loss = 0;
    std::vector<float> values;
    int64_t arena_bytes = 0;
};

Gradients gradients_with(Backend& backend, int64_t tile) {
    EngineOptions options = small_options(backend, kTokens);
    options.mlp_tile = tile;
    SmallTraining training(backend, options);
    training.load();
    const double loss = training.engine.add_gradients(small_update(kTokens));
    return {loss, read_f32(training.set.store(), training.engine.parameters().gradients()),
            training.engine.micro_program().plan().arena_bytes};
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        norm += std::pow(static_cast<double>(a[i]), 2);
    }
    return std::sqrt(difference / norm);
}

}  // namespace

TEST_CASE("tiles: the same loss and gradients as without, for any size of tile") {
    const auto backend = make_cpu_backend(2);
    const Gradients whole = gradients_with(*backend, 0);
    for (int64_t tile : {8, 24, 64, 119}) {
        CAPTURE(tile);
        const Gradients tiled = gradients_with(*backend, tile);
        CHECK(tiled.loss == doctest::Approx(whole.loss).epsilon(1e-6));
        CHECK(relative_difference(whole.values, tiled.values) < 1e-5);
    }
    CHECK(gradients_with(*backend, 24).arena_bytes < whole.arena_bytes);
}

TEST_CASE("tiles: a tile as large as the whole changes nothing") {
    const auto backend = make_cpu_backend(2);
    CHECK(bool(gradients_with(*backend, kTokens).values == gradients_with(*backend, 0).values));
}

}  // namespace ggq::test
