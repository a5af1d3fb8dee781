#include "ggq/memory_fit.h"

#include <algorithm>

#include "ggq/restore_steps.h"

namespace ggq {

namespace {

constexpr int kParts = 64, kAll = kParts + 1;  // kAll: masters too, which are many small pages
// Of the host's free memory: the rest is for what reads the files, and for others.
constexpr double kHostShare = 0.9;

}  // namespace

MemoryFit::MemoryFit(ProgramSet& set, int64_t most_bytes)
    : set_(set),
      backend_(set.backend()),
      device_budget_(std::min(backend_.free_bytes(), most_bytes)),
      host_budget_(static_cast<int64_t>(kHostShare * static_cast<double>(backend_.free_host_bytes()))) {
    for (Buffer* b : set.store().declared())
        if (b->pageable && backend_.has_own_memory()) {
            pageable_.push_back(b);
            if (b->kind != Kind::parameter) pageable_bytes_ += b->bytes();
        }
    for (const ProgramSet::Member& m : set.members_) {
        const bool automatic = m.options.recompute.preset == Recompute::automatic;
        any_runs_ |= m.options.runs > 0;
        ladders_.push_back(
            automatic ? std::make_unique<KeepLadder>(m.program.graph(), backend_.costs(), m.options.keys_a_query)
                      : nullptr);
    }
}

double MemoryFit::runs(size_t member) const { return any_runs_ ? set_.members_[member].options.runs : 1; }

// First what an update needs once; then of the weights, which every micro-batch needs, spread evenly over all, so that
// copies have time between them; masters where nothing else helps.
void MemoryFit::set_paged(int parts) {
    int64_t wanted = pageable_bytes_ * std::min(parts, kParts) / kParts, weights = 0;
    const auto page = [&](Buffer* b, bool due) {
        set_.store().set_residence(*b, due ? Residence::paged : Residence::device);
        if (due) wanted -= b->bytes();
    };
    for (Buffer* b : pageable_)
        if (b->kind == Kind::constant) weights += b->bytes();
        else if (b->kind == Kind::parameter)
            set_.store().set_residence(*b, parts == kAll ? Residence::paged : Residence::device);
        else page(b, wanted > 0);
    const auto share =
        static_cast<double>(std::max<int64_t>(0, wanted)) / static_cast<double>(std::max<int64_t>(1, weights));
    double due = 0;
    for (Buffer* b : pageable_) {
        if (b->kind != Kind::constant) continue;
        due += share * static_cast<double>(b->bytes());
        const bool now = due >= static_cast<double>(b->bytes()) / 2;
        page(b, now);
        if (now) due -= static_cast<double>(b->bytes());
    }
}

Plan MemoryFit::plan_at(size_t member, int level, PlanOptions options) const {
    options.kept = ladders_[member]->kept_at(level);
    return plan(set_.members_[member].program.graph(), backend_, options);
}

// Of the levels that fit the highest that a few tries find: what a level keeps is known, what it takes in the end is
// not.
Plan MemoryFit::plan_of(size_t member, int64_t arena_budget, bool offload, bool only_if_it_fits) {
    const ProgramSet::Member& m = set_.members_[member];
    PlanOptions options = m.options;
    options.arena_budget = arena_budget;
    options.offload = offload;
    options.only_if_it_fits = only_if_it_fits;
    options.restores = false;  // which take no memory and are added to the plans that are chosen
    if (!ladders_[member]) return plan(m.program.graph(), backend_, options);
    const KeepLadder& ladder = *ladders_[member];
    Plan best = plan_at(member, 0, options);
    if (best.device_bytes() > arena_budget || offload) return best;
    int below = 0, above = ladder.n_levels();
    int64_t spare = arena_budget - best.device_bytes();
    for (int tries = 0; tries < 5 && above - below > 1; ++tries) {
        const int64_t wanted = ladder.bytes_at(below) + spare;
        int level = below;
        while (level + 1 < above && ladder.bytes_at(level + 1) <= wanted) ++level;
        level = std::clamp(level, below + 1, above - 1);
        Plan next = plan_at(member, level, options);
        if (next.device_bytes() <= arena_budget) {
            spare = arena_budget - next.device_bytes();
            best = std::move(next);
            below = level;
        } else {
            spare -= next.device_bytes() - arena_budget;
            above = level;
        }
    }
    return best;
}

int64_t MemoryFit::growth(int parts) const {
    int64_t n_steps = 0;
    for (const ProgramSet::Member& m : set_.members_) n_steps += std::ssize(m.program.graph().steps());
    const int64_t n_copies = 3 * std::ssize(pageable_) * std::ssize(set_.members_) * parts / kParts;
    return backend_.overhead_bytes_with(n_steps, n_copies) - backend_.overhead_bytes();
}

int64_t MemoryFit::growth(const std::vector<Plan>& plans) const {
    int64_t n_ops = 0, n_copies = 0;
    for (size_t i = 0; i < plans.size(); ++i) {
        const Plan& p = plans[i];
        n_ops += p.n_steps(Lane::compute) + most_restores(set_.members_[i].program.graph(), backend_, p);
        n_copies += p.n_steps(Lane::in) + p.n_steps(Lane::out);
    }
    return backend_.overhead_bytes_with(n_ops, n_copies) - backend_.overhead_bytes();
}

// Planned beside what recordings are thought to take; where that is not what they will, again: with each turn more is
// left free, since a plan made for less room may have more steps.
MemoryFit::Way MemoryFit::way(int parts, bool offload, bool only_if_it_fits) {
    constexpr int kTurns = 4;
    constexpr int64_t kSlack = 1 << 20;
    set_paged(parts);
    int64_t reserve = growth(parts);
    Way w = way_beside(reserve, parts, offload, only_if_it_fits);
    for (int turn = 1; turn < kTurns; ++turn) {
        const int64_t taken = growth(w.plans);
        if (taken <= reserve && (w.fits || taken + kSlack >= reserve)) break;
        reserve = taken + (kSlack << (2 * turn - 2));
        w = way_beside(reserve, parts, offload, only_if_it_fits);
    }
    return w;
}

MemoryFit::Way MemoryFit::way_beside(int64_t reserve, int parts, bool offload, bool only_if_it_fits) {
    Way w{.paged = parts, .offload = offload};
    const int64_t fixed = set_.store().bytes();
    const int64_t arena_budget = std::max<int64_t>(1, device_budget_ - fixed - reserve);
    int64_t arena = 0, migrated = 0, host_arena = 0;
    bool all_placed = true;  // beyond its budget a plan may have no offsets
    for (size_t i = 0; i < set_.members_.size(); ++i) {
        Plan p = plan_of(i, arena_budget, offload, only_if_it_fits);
        all_placed &= p.device_bytes() <= arena_budget;
        arena = std::max(arena, p.arena_bytes);
        migrated = std::max(migrated, p.migrated_bytes);
        host_arena = std::max(host_arena, p.host_bytes);
        if (runs(i) > 0) w.seconds += runs(i) * duration(p, set_.members_[i].program.graph(), backend_.costs()).seconds;
        w.plans.push_back(std::move(p));
    }
    w.device_bytes = fixed + arena + migrated + growth(w.plans);
    w.fits = all_placed && w.device_bytes <= device_budget_ && set_.store().host_bytes() + host_arena <= host_budget_;
    return w;
}

void MemoryFit::consider(Way w) {
    const bool first = best_.plans.empty();
    const bool better = w.fits != best_.fits ? w.fits
                        : w.fits             ? w.seconds < best_.seconds
                                             : w.device_bytes < best_.device_bytes;
    if (first || better) best_ = std::move(w);
}

void MemoryFit::run() {
    for (int parts : {0, kParts / 4, kParts / 2, 3 * kParts / 4, kParts, kAll}) {
        if ((parts > 0 && pageable_.empty()) || (parts == kAll && best_.fits)) break;
        consider(way(parts, false));
        if (backend_.has_own_memory()) consider(way(parts, true));
    }
    if (!best_.fits) best_ = way(best_.paged, best_.offload, false);
    set_paged(best_.paged);
    RestoreRoom room{.beside_bytes = set_.store().bytes()};
    for (const Plan& p : best_.plans) room.arena_bytes = std::max(room.arena_bytes, p.arena_bytes);
    if (best_.fits) room.most_bytes = room.arena_bytes + device_budget_ - best_.device_bytes;
    for (size_t i = 0; i < best_.plans.size(); ++i) {
        Program& program = set_.members_[i].program;
        program.set_plan(with_restores(program.graph(), backend_, std::move(best_.plans[i]), room));
        room.arena_bytes = std::max(room.arena_bytes, program.plan().arena_bytes);
    }
}

// A device in the host's memory shares it with all else that runs there.
void ProgramSet::fit(int64_t most_bytes) {
    GGQ_ASSERT(!arena_, "fit() after allocate()");
    constexpr double kShared = 0.8;
    if (!backend_->has_own_memory())
        most_bytes = std::min(most_bytes, static_cast<int64_t>(kShared * static_cast<double>(backend_->free_bytes())));
    if (fits(most_bytes)) use_spare(most_bytes);
    else MemoryFit(*this, most_bytes).run();
}

}  // namespace ggq
