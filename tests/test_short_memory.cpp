// Runs on a device with too little memory of its own, of the host's, or of the host's that can be pinned: what is
// refused before anything is taken, with what would do, and what goes on all the same.
#include <doctest/doctest.h>

#include "ggq/error.h"
#include "models/train/job.h"
#include "models/train/smaller.h"
#include "tests/file_checks.h"
#include "tests/lagging_backend.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = 1 << 20;

std::unique_ptr<LaggingBackend> card(int64_t most_bytes = INT64_MAX) {
    auto backend = std::make_unique<LaggingBackend>(LaggingBackend::Order::random, 1, most_bytes);
    backend->costs_given.copy_in = backend->costs_given.copy_out = 1e11;
    return backend;
}

struct Trained {
    std::string notes, adapter;
    int64_t peak_bytes = 0;
};

Trained train_on(std::unique_ptr<Backend> device, const TrainOptions& options) {
    Trained seen;
    TrainEvents events;
    events.note = [&](const std::string& line) { seen.notes += line + '\n'; };
    events.step = [&](const StepReport& report) { seen.peak_bytes = report.peak_bytes; };
    run_training(options, events, nullptr, std::move(device));
    seen.adapter = content_of(fs::path(options.output) / "adapter_model.safetensors");
    return seen;
}

// Of a run on a card with all the memory that it wants.
int64_t wanted_bytes(TrainOptions options) {
    options.output += "-whole";
    options.recompute = Recompute::none;
    return train_on(card(), options).peak_bytes;
}

// What `train` says of a card, which it left as it was.
std::string refusal(std::unique_ptr<LaggingBackend> device, const TrainOptions& options) {
    const Job job(options, std::move(device));
    const RunData data(job, {});
    const auto planned = planned_model(job, data);
    std::string reason = error_of([&] { require_fits(*planned, job, data); });
    CHECK(job.backend->memory().allocations + job.backend->host_memory().allocations == 0);
    return reason;
}

}  // namespace

TEST_CASE("short of memory: pages that cannot be pinned are unpinned, which a note says, with the same bits") {
    const Workplace place;
    TrainOptions options = place.options(4);
    const int64_t budget = wanted_bytes(options) * 35 / 100;  // what recomputation alone does not do
    const Trained pinned = train_on(card(budget), options);
    check_contains(pinned.notes, "memory of the host: pinned, with copies\n");
    options.output = place / "unpinned";
    auto device = card(budget);
    device->most_pinned_bytes = 0;
    const Trained unpinned = train_on(std::move(device), options);
    check_contains(unpinned.notes,
                   "memory of the host: unified memory with copies, which is slower, as it could not be pinned\n");
    CHECK(unpinned.adapter == pinned.adapter);
}

TEST_CASE("short of memory: which blocks of the host are pinned") {
    int there = 0;
    const auto have = [&]() -> void* { return &there; };
    const auto none = []() -> void* { return nullptr; };
    for (const Pager pager : {Pager::automatic, Pager::copies}) {
        HostBlocks blocks(pager);
        CHECK(blocks.take(have, none) == &there);
        CHECK_FALSE(blocks.forget_unified(&there));
        CHECK(blocks.form() == "pinned, with copies");
    }
    CHECK(HostBlocks(Pager::copies).take(none, have) == nullptr);
    CHECK(HostBlocks(Pager::automatic).take(none, none) == nullptr);
    HostBlocks managed(Pager::managed);
    CHECK(managed.take(none, have) == &there);
    CHECK(managed.form() == "unified memory, moved by prefetch");
    CHECK(managed.forget_unified(&there));
    CHECK_FALSE(managed.forget_unified(&there));
}

TEST_CASE("short of memory: a host with too little for the pages is refused before anything is taken") {
    const Workplace place;
    const TrainOptions options = place.options(4);
    const int64_t budget = wanted_bytes(options) * 35 / 100;  // what recomputation alone does not do
    const auto poor = [&] {
        auto device = card(budget);
        device->most_host_bytes = 1024;
        return device;
    };
    const std::string reason = refusal(poor(), options);
    check_contains(reason,
                   " MiB of the host's memory for what the device has no room for, and 0.0 MiB are free there, ");
    check_contains(reason, " MiB too few; end other programs or raise the limit of the container; it would ");
    CHECK(error_of([&] { train_on(poor(), options); }) == reason);
    CHECK(files_in(place.out).empty());
}

TEST_CASE("short of memory: a budget below the least says by how much, and the smaller setting that it names fits") {
    const Workplace place;
    TrainOptions options = place.options(4);
    options.max_length = 256;
    const auto small = [&] { return card(3 * kMiB); };
    const std::string reason = refusal(small(), options);
    check_contains(reason, "memory: the plan needs ");
    check_contains(reason, " MiB and 3.0 MiB are free, ");
    check_contains(reason, " MiB too few; it would fit with `batch_size` 1 with a larger `grad_accum`");
    CHECK(error_of([&] { train_on(small(), options); }) == reason);
    CHECK(files_in(place.out).empty());
    options.grad_accum = options.batch_size;
    options.batch_size = 1;
    CHECK_FALSE(train_on(small(), options).adapter.empty());
}

TEST_CASE("short of memory: smaller settings come in order, those that take nothing off are left out") {
    TrainOptions options;
    options.recompute = Recompute::none;
    options.optim = OptimKind::adamw;
    options.max_length = 512;
    const auto advice = [&](const std::function<int64_t(const TrainOptions&)>& missing) {
        return smaller_settings(options, missing(options), missing);
    };
    const auto weigh = [](const TrainOptions& o) {
        return o.batch_size * o.max_length + (o.recompute.preset == Recompute::none ? 1000 : 0) +
               (o.optim == OptimKind::paged_adamw_8bit ? 0 : 100) + (o.lora.targets == "all-linear" ? 50 : 0);
    };
    const auto fits_in = [&](int64_t free) {
        return advice([&](const TrainOptions& o) { return std::max<int64_t>(0, weigh(o) - free); });
    };
    const int64_t whole = weigh(options);
    CHECK(fits_in(whole - 1000) == "it would fit with `recompute` auto");
    CHECK(fits_in(whole - 1001) == "it would fit with `recompute` auto, `batch_size` 1 with a larger `grad_accum`");
    CHECK(fits_in(600) ==
          "it would fit with `recompute` auto, `batch_size` 1 with a larger `grad_accum`, `optim` paged_adamw_8bit");
    CHECK(fits_in(306) ==
          "it would fit with `recompute` auto, `batch_size` 1 with a larger `grad_accum`, `optim` paged_adamw_8bit, "
          "`max_length` 256, which cuts longer samples");
    CHECK(
        fits_in(255) ==
        "it would not fit with `recompute` auto, `batch_size` 1 with a larger `grad_accum`, `optim` paged_adamw_8bit, "
        "`max_length` 256, which cuts longer samples, `lora_targets` q_proj,v_proj either; take a smaller model");
    CHECK(advice([](const TrainOptions& o) { return o.max_length > 256 ? 1 : 0; }) ==
          "it would fit with `max_length` 256, which cuts longer samples");
    CHECK(advice([](const TrainOptions&) { return 1; }) == "no smaller setting would do; take a smaller model");
}

}  // namespace ggq::test
