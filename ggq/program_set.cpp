#include "ggq/program_set.h"

#include <algorithm>

#include "ggq/error.h"
#include "ggq/restore_steps.h"

namespace ggq {

Program& ProgramSet::add(std::string name, std::shared_ptr<const Graph> graph, const PlanOptions& options,
                         std::function<void()> harmless_inputs) {
    GGQ_ASSERT(!arena_, "a program is added after allocate(): " + name);
    PlanOptions all = options;
    all.beside_bytes = store_.bytes();
    Plan planned = plan(*graph, *backend_, all);
    members_.push_back(
        {Program(std::move(graph), std::move(planned), std::move(name)), options, std::move(harmless_inputs)});
    return members_.back().program;
}

MemoryUse ProgramSet::memory() const {
    MemoryUse use;
    use.weights = store_.bytes(Kind::constant);
    use.parameters = store_.bytes(Kind::parameter);
    use.state = store_.bytes(Kind::state);
    use.inputs = store_.bytes(Kind::input);
    for (const Member& m : members_) {
        use.arena = std::max(use.arena, m.program.plan().arena_bytes);
        use.workspace = std::max(use.workspace, m.program.plan().workspace_bytes);
        use.migrated = std::max(use.migrated, m.program.plan().migrated_bytes);
        use.host_arena = std::max(use.host_arena, m.program.plan().host_bytes);
    }
    use.host = store_.host_bytes();
    use.overhead = backend_->overhead_bytes() + growth();
    return use;
}

std::vector<const Program*> ProgramSet::programs() const {
    std::vector<const Program*> all;
    for (const Member& m : members_) all.push_back(&m.program);
    return all;
}

std::pair<int64_t, int64_t> ProgramSet::n_steps() const {
    int64_t n_ops = 0, n_copies = 0;
    for (const Member& m : members_) {
        n_ops += m.program.plan().n_steps(Lane::compute);
        n_copies += m.program.plan().n_steps(Lane::in) + m.program.plan().n_steps(Lane::out) +
                    m.program.plan().n_steps(Lane::aside);
    }
    return {n_ops, n_copies};
}

int64_t ProgramSet::growth() const {
    const auto [n_ops, n_copies] = n_steps();
    return backend_->overhead_bytes_with(n_ops, n_copies) - backend_->overhead_bytes();
}

int64_t ProgramSet::spare(int64_t most_bytes) const {
    const MemoryUse use = memory();
    return std::min(backend_->free_bytes(), most_bytes) - (use.total() + use.migrated + growth());
}

MemoryShortage ProgramSet::shortage(int64_t most_bytes) const {
    const int64_t host = memory().host_total();
    return {std::max<int64_t>(0, -spare(most_bytes)),
            host == 0 ? 0 : std::max<int64_t>(0, host - backend_->free_host_bytes())};
}

void ProgramSet::use_spare(int64_t most_bytes) {
    for (Member& m : members_) {
        const Plan before = m.program.plan();
        if (before.n_recomputed > 0 || most_restores(m.program.graph(), *backend_, before) == 0) continue;
        PlanOptions options = m.options;
        options.beside_bytes = store_.bytes();
        options.spare_bytes = spare(most_bytes) + memory().arena - before.arena_bytes;
        m.program.set_plan(plan(m.program.graph(), *backend_, options));
        if (!fits(most_bytes)) m.program.set_plan(before);
    }
}

void ProgramSet::require_fits(std::string_view advice, std::string_view limit) const {
    const auto mebibytes = [](int64_t n_bytes) { return static_cast<double>(n_bytes) / (1 << 20); };
    const MemoryUse use = memory();
    const MemoryShortage missing = shortage();
    require(missing.device == 0, "memory: the plan needs {:.1f} MiB and {:.1f} MiB are free{}, {:.1f} MiB too few; {}",
            mebibytes(use.total() + use.migrated + growth()), mebibytes(backend_->free_bytes()), limit,
            mebibytes(missing.device), advice);
    require(missing.host == 0,
            "memory: the plan needs {:.1f} MiB of the host's memory for what the device has no room for, and {:.1f} "
            "MiB are free there, {:.1f} MiB too few; end other programs or raise the limit of the container; {}",
            mebibytes(use.host_total()), mebibytes(backend_->free_host_bytes()), mebibytes(missing.host), advice);
}

std::span<std::byte> ProgramSet::idle_arena() const {
    if (!arena_) return {};
    return {arena_->data(), static_cast<size_t>(arena_->bytes())};
}

void ProgramSet::allocate(const std::function<void()>& load) {
    GGQ_ASSERT(!arena_, "allocate() twice");
    store_.allocate();
    if (load) load();
    arena_ = std::make_unique<Arena>(*backend_, memory().arena, memory().host_arena);
    for (Member& m : members_) m.program.bind(*backend_, *arena_);
    if (backend_->records()) record();
}

void ProgramSet::record() {
    for (Member& m : members_) {
        if (m.harmless_inputs) m.harmless_inputs();
        m.program.prepare();
    }
    store_.zero(Kind::state);
}

}  // namespace ggq
