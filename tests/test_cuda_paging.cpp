// Paging on a GPU: the same bits as with everything on it, copied or migrated, recorded or not, whatever is recomputed.
#include <doctest/doctest.h>

#include "ggq/device.h"
#include "ggq/transfer.h"
#include "tests/gpu.h"
#include "tests/small_llama.h"

namespace ggq::test {

namespace {

constexpr int64_t kTokens = 96;
constexpr int kMicroBatches = 2, kUpdates = 50;

struct Run {
    Pager pager = Pager::automatic;
    RecomputeChoice recompute = Recompute::full;
    int64_t together = 1;
    bool paged = false;
    bool restores_apart = true;
};

struct Result {
    std::vector<float> adapter;
    int64_t migrated_bytes = 0, bytes_in = 0, allocated = 0, planned = 0, allocations = 0;
    int64_t n_restores = 0;  // in steps of their own
};

Result result_of(const Run& run) {
    const auto backend = make_backend({.device = "cuda", .pager = run.pager});
    EngineOptions options = small_options(*backend, kTokens);
    options.recompute = run.recompute;
    options.together = run.together;
    options.restores = run.restores_apart;
    options.page_all = options.optimizer.pageable = run.paged;
    SmallTraining training(*backend, options, 6);
    training.load();
    const int64_t before = backend->memory().allocations;
    for (int i = 0; i < kUpdates; ++i) training.engine.train(small_update_of(i, kMicroBatches, kTokens), 1e-2);
    Result r;
    r.migrated_bytes = training.set.memory().migrated;
    r.bytes_in = training.engine.micro_program().plan().bytes_in;
    r.n_restores = training.engine.micro_program().plan().n_restores();
    r.planned = training.set.memory().total();
    r.allocated = backend->memory().peak_bytes;
    r.allocations = backend->memory().allocations - before;
    for (const TrainedParameter& p : training.engine.parameters().parameters()) {
        const std::vector<float> values = read_f32(training.set.store(), *p.param);
        r.adapter.insert(r.adapter.end(), values.begin(), values.end());
    }
    return r;
}

}  // namespace

TEST_CASE("gpu: fifty updates have the same bits, paged or not, in every form") {
    if (!require_gpu()) return;
    const Result plain = result_of({});
    CHECK(plain.n_restores > 0);
    const std::pair<const char*, Run> runs[] = {
        {"explicit", {.pager = Pager::copies, .paged = true}},
        {"managed", {.pager = Pager::managed, .paged = true}},
        {"layer by layer", {.together = kMicroBatches}},
        {"paged layer by layer", {.pager = Pager::copies, .together = kMicroBatches, .paged = true}},
        {"restored by products", {.restores_apart = false}},
        {"none", {.recompute = Recompute::none}},
        {"selective", {.recompute = Recompute::selective}},
        {"partial", {.recompute = {Recompute::partial, 3}}},
        {"paged none", {.recompute = Recompute::none, .paged = true}},
    };
    for (const auto& [name, run] : runs) {
        CAPTURE(name);
        const Result r = result_of(run);
        CHECK(bool(r.adapter == plain.adapter));
        CHECK(r.allocated == r.planned);
        CHECK(r.allocations == 0);
        CHECK((r.bytes_in > 0) == run.paged);
        if (!run.restores_apart) CHECK(r.n_restores == 0);
        CHECK((r.migrated_bytes > 0) == (run.pager == Pager::managed));
    }
}

}  // namespace ggq::test
