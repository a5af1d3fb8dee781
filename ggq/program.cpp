#include "ggq/program.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "ggq/error.h"

namespace ggq {

Arena::Arena(Backend& backend, int64_t bytes)
    : backend_(&backend), data_(static_cast<std::byte*>(backend.allocate(bytes))), bytes_(bytes) {}

Arena::~Arena() { backend_->release(data_, bytes_); }

Program::Program(std::shared_ptr<const Graph> graph, Plan plan, std::string name)
    : graph_(std::move(graph)), plan_(std::move(plan)), name_(std::move(name)) {}

View Program::view_of(int32_t tensor) const {
    const PlannedTensor& t = plan_.tensors[static_cast<size_t>(tensor)];
    const PlannedTensor& owner = plan_.tensors[static_cast<size_t>(t.storage)];
    const Value& v = graph_->values()[static_cast<size_t>(t.value)];
    if (v.buffer) GGQ_ASSERT(v.buffer->data != nullptr, v.name + " has no memory yet");
    std::byte* base = v.buffer ? static_cast<std::byte*>(v.buffer->data) : arena_ + owner.offset;
    GGQ_ASSERT(v.buffer || owner.offset >= 0, "a tensor without a place");
    View view = make_view(base + v.first * info(v.type.dtype).bytes, v.type.dtype, v.type.shape, v.type.quant);
    view.strides = v.strides;
    return view;
}

void Program::bind(Backend& backend, const Arena& arena) {
    GGQ_ASSERT(arena.bytes() >= plan_.arena_bytes, "arena smaller than the plan");
    backend_ = &backend;
    arena_ = arena.data();
    steps_.clear();
    recording_.reset();
    for (const PlannedStep& s : plan_.steps) {
        BoundStep bound{&graph_->steps()[static_cast<size_t>(s.step)], {}, {}, {}};
        for (int32_t t : s.in) bound.in.push_back(view_of(t));
        for (int32_t t : s.out) bound.out.push_back(view_of(t));
        bound.workspace = {arena_ + s.workspace_offset, static_cast<size_t>(s.workspace_bytes)};
        steps_.push_back(std::move(bound));
    }
}

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// GGQ_SYNC=1 finds the step that fails on a device.
bool wants_steps_apart() {
    const char* value = std::getenv("GGQ_SYNC");
    return value && std::string_view(value) != "0" && *value;
}

}  // namespace

void Program::start(const BoundStep& s) { backend_->run(*s.step->op, {s.out, s.in, &s.step->params, s.workspace}); }

void Program::prepare() {
    if (!backend_->records() || wants_steps_apart()) return;
    run();
    try {
        recording_ = backend_->record([&] { std::ranges::for_each(steps_, [&](auto& s) { start(s); }); });
    } catch (const Error& e) {
        fail("{}: {}", name_, e.what());
    }
}

// Waits for every step, so that a failure and the time have an owner.
void Program::run_apart(Profile* profile) {
    std::vector<TensorType> types;
    for (const BoundStep& s : steps_) {
        const auto step_start = std::chrono::steady_clock::now();
        try {
            start(s);
            backend_->synchronize();
        } catch (const Error& e) {
            fail("[{}] {}: {}", s.step->op->name, graph_->scope_of(*s.step), e.what());
        }
        if (!profile) continue;
        Profile::Row& row = profile->rows[s.step->op->name];
        const double seconds = seconds_since(step_start);
        row.seconds += seconds;
        row.calls += 1;
        const OpCall call = graph_->call(*s.step, types);
        if (call.op.flops) row.flops += call.op.flops(call);
        row.bytes += static_cast<double>(traffic_bytes(call));
        profile->kernel_seconds += seconds;
    }
}

void Program::run(Profile* profile) {
    GGQ_ASSERT(backend_ != nullptr, "run before bind");
    const auto run_start = std::chrono::steady_clock::now();
    try {
        if (profile || wants_steps_apart()) {
            run_apart(profile);
        } else {
            if (recording_) recording_->replay();
            else std::ranges::for_each(steps_, [&](const BoundStep& s) { start(s); });
            backend_->synchronize();
        }
    } catch (const Error& e) {
        const bool apart = profile || wants_steps_apart() || !backend_->records();
        fail("{}: {}{}", name_, e.what(), apart ? "" : "; run with GGQ_SYNC=1 to learn at which step");
    }
    if (profile) profile->wall_seconds += seconds_since(run_start);
}

void Program::read(Tensor t, void* host) const {
    const Value& v = graph_->value(t);
    GGQ_ASSERT(v.buffer || graph_->values()[static_cast<size_t>(v.storage)].output, "read of a tensor not marked");
    GGQ_ASSERT(v.contiguous(), "read of a strided view");
    backend_->copy_out(host, view_of(t.id).data, v.type.bytes());
}

static std::string rate(double amount, double seconds) {
    return amount > 0 && seconds > 0 ? fmt::format("{:.1f}", amount / seconds * 1e-9) : "-";
}

std::string Profile::table() const {
    std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
    std::ranges::sort(sorted, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    std::string text =
        fmt::format("{:<28}{:>10}{:>12}{:>8}{:>12}{:>10}\n", "op", "calls", "ms", "%", "GFLOP/s", "GB/s");
    for (const auto& [op, row] : sorted)
        text +=
            fmt::format("{:<28}{:>10}{:>12.3f}{:>8.2f}{:>12}{:>10}\n", op, row.calls, row.seconds * 1e3,
                        100 * row.seconds / wall_seconds, rate(row.flops, row.seconds), rate(row.bytes, row.seconds));
    text += fmt::format("{:<28}{:>10}{:>12.3f}{:>8.2f}\n", "sum of ops", "", kernel_seconds * 1e3,
                        100 * kernel_seconds / wall_seconds);
    text += fmt::format("{:<28}{:>10}{:>12.3f}{:>8.2f}\n", "wall", "", wall_seconds * 1e3, 100.0);
    return text;
}

}  // namespace ggq
