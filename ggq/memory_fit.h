// ProgramSet::fit(): which buffers are paged, and how much each program recomputes and offloads, so that all fits.
#pragma once

#include <memory>
#include <vector>

#include "ggq/program_set.h"

namespace ggq {

class MemoryFit {
public:
    MemoryFit(ProgramSet& set, int64_t most_bytes);

    // Leaves the set with the plans and residences of the fastest way that fits, or of the leanest.
    void run();

private:
    // One way: how many of 64 parts of the pageable bytes are paged, and the plans that follow.
    struct Way {
        int paged = 0;
        bool offload = false;
        std::vector<Plan> plans = {};  // a member each
        bool fits = false;
        int64_t device_bytes = 0;
        double seconds = 0;
    };

    void set_paged(int parts);
    Way way(int parts, bool offload, bool only_if_it_fits = true);
    Way way_beside(int64_t reserve, int parts, bool offload, bool only_if_it_fits);
    Plan plan_of(size_t member, int64_t arena_budget, bool offload, bool only_if_it_fits);
    Plan plan_at(size_t member, int level, PlanOptions options) const;
    void consider(Way way);
    double runs(size_t member) const;  // the weight of its time
    int64_t growth(int parts) const;   // about what recording the programs takes
    int64_t growth(const std::vector<Plan>& plans) const;

    ProgramSet& set_;
    Backend& backend_;
    int64_t device_budget_, host_budget_;
    std::vector<Buffer*> pageable_;
    int64_t pageable_bytes_ = 0;
    std::vector<std::unique_ptr<KeepLadder>> ladders_;  // a member each; null where nothing is automatic
    bool any_runs_ = false;
    Way best_;
};

}  // namespace ggq
