#include "models/train/smaller.h"

#include <algorithm>

namespace ggq {

namespace {

struct Smaller {
    const char* what;
    bool (*applies)(const TrainOptions& o);
    void (*apply)(TrainOptions& o);
};

constexpr Smaller kSmaller[] = {
    {"`recompute` auto", [](const TrainOptions& o) { return o.recompute.preset != Recompute::automatic; },
     [](TrainOptions& o) { o.recompute = Recompute::automatic; }},
    {"`batch_size` 1 with a larger `grad_accum`", [](const TrainOptions& o) { return o.batch_size > 1; },
     [](TrainOptions& o) { o.grad_accum *= o.batch_size, o.batch_size = 1; }},
    {"`optim` paged_adamw_8bit", [](const TrainOptions& o) { return o.optim != OptimKind::paged_adamw_8bit; },
     [](TrainOptions& o) { o.optim = OptimKind::paged_adamw_8bit; }},
    {"`max_length` 256, which cuts longer samples", [](const TrainOptions& o) { return o.max_length > 256; },
     [](TrainOptions& o) { o.max_length = 256; }},
    {"`lora_targets` q_proj,v_proj",
     [](const TrainOptions& o) { return o.train == TrainKind::lora && o.lora.targets == "all-linear"; },
     [](TrainOptions& o) { o.lora.targets = "q_proj,v_proj"; }},
};

}  // namespace

std::string smaller_settings(TrainOptions options, int64_t missing,
                             const std::function<int64_t(const TrainOptions&)>& missing_bytes) {
    std::string with;
    for (const Smaller& s : kSmaller) {
        if (!s.applies(options)) continue;
        TrainOptions smaller = options;
        s.apply(smaller);
        const int64_t now = missing_bytes(smaller);
        if (now >= missing) continue;
        options = smaller;
        missing = now;
        with += (with.empty() ? "" : ", ") + std::string(s.what);
        if (missing == 0) return "it would fit with " + with;
    }
    if (with.empty()) return "no smaller setting would do; take a smaller model";
    return "it would not fit with " + with + " either; take a smaller model";
}

}  // namespace ggq
