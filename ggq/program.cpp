#include "ggq/program.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "ggq/error.h"
#include "ggq/restore_steps.h"

namespace ggq {

Arena::Arena(Backend& backend, int64_t bytes, int64_t host_bytes)
    : backend_(&backend), bytes_(bytes), host_bytes_(host_bytes) {
    host_data_ = static_cast<std::byte*>(backend.allocate_host(host_bytes));
    try {
        data_ = static_cast<std::byte*>(backend.allocate(bytes));
    } catch (...) {
        backend.release_host(host_data_, host_bytes);
        throw;
    }
}

Arena::~Arena() {
    backend_->release(data_, bytes_);
    backend_->release_host(host_data_, host_bytes_);
}

Program::Program(std::shared_ptr<const Graph> graph, Plan plan, std::string name)
    : graph_(std::move(graph)), plan_(std::move(plan)), name_(std::move(name)) {}

void Program::set_plan(Plan plan) {
    GGQ_ASSERT(!backend_, name_ + " is bound");
    plan_ = std::move(plan);
}

View Program::view_of(int32_t tensor) const {
    const PlannedTensor& t = plan_.tensors[static_cast<size_t>(tensor)];
    const PlannedTensor& owner = plan_.tensors[static_cast<size_t>(t.storage)];
    const Value& v = graph_->values()[static_cast<size_t>(t.value)];
    std::byte* base = nullptr;
    if (owner.offset >= 0) {
        base = arena_->data() + owner.offset;
    } else {
        GGQ_ASSERT(v.buffer && v.buffer->data, v.name + " has no memory yet");
        base = static_cast<std::byte*>(v.buffer->data);
    }
    if (t.restored) return make_view(base, *t.restored, v.type.shape);
    View view = make_view(base + v.first * info(v.type.dtype).bytes, v.type.dtype, v.type.shape, v.type.quant);
    view.strides = v.strides;
    return view;
}

Program::BoundStep Program::bound_op(const PlannedStep& s) const {
    BoundStep bound{.step = &graph_->steps()[static_cast<size_t>(s.step)]};
    bound.op = bound.step->op;
    for (int32_t t : s.in) bound.in.push_back(view_of(t));
    for (int32_t t : s.out) bound.out.push_back(view_of(t));
    bound.workspace = {arena_->data() + s.workspace_offset, static_cast<size_t>(s.workspace_bytes)};
    return bound;
}

Program::BoundStep Program::bound_copy(const PlannedStep& s) const {
    const bool in = s.lane == Lane::in;
    const PlannedTensor& place = plan_.tensors[static_cast<size_t>(in ? s.out[0] : s.in[0])];
    const Value& v = graph_->values()[static_cast<size_t>(place.value)];
    void* host = s.host_offset >= 0 ? arena_->host_data() + s.host_offset : v.buffer->data;
    void* device = place.in_place ? host : arena_->data() + place.offset;
    return {.lane = s.lane, .from = in ? host : device, .to = in ? device : host, .bytes = place.bytes};
}

Program::BoundStep Program::bound_restore(const PlannedStep& s) const {
    const RestoreCall restore(*graph_, plan_, s);
    const OpCall call = restore.call();
    BoundStep bound{.op = &call.op, .params = call.params, .lane = s.lane, .bytes = traffic_bytes(call)};
    bound.in.push_back(view_of(s.in[0]));
    bound.out.push_back(view_of(s.out[0]));
    return bound;
}

namespace {

constexpr int32_t kStarted = 0;  // the event from which on the other lanes of a run may begin

}  // namespace

void Program::bind_events() {
    last_of_lanes_.clear();
    std::map<Lane, int32_t> last;
    int32_t n_events = kStarted + 1;
    const auto event_of = [&](int32_t step) {
        int32_t& event = steps_[static_cast<size_t>(step)].event;
        if (event < 0) event = n_events++;
        return event;
    };
    for (size_t i = 0; i < steps_.size(); ++i) {
        for (int32_t before : plan_.steps[i].after) {
            const bool joins =
                steps_[i].lane == Lane::compute && steps_[static_cast<size_t>(before)].lane == Lane::aside;
            (joins ? steps_[i].joins : steps_[i].waits).push_back(event_of(before));
        }
        if (steps_[i].lane != Lane::compute) last[steps_[i].lane] = static_cast<int32_t>(i);
    }
    for (const auto& [lane, step] : last) last_of_lanes_.emplace_back(lane, event_of(step));
}

void Program::bind(Backend& backend, const Arena& arena) {
    GGQ_ASSERT(arena.bytes() >= plan_.arena_bytes && arena.host_bytes() >= plan_.host_bytes,
               "arena smaller than the plan");
    backend_ = &backend;
    arena_ = &arena;
    steps_.clear();
    recording_.reset();
    for (const PlannedStep& s : plan_.steps)
        steps_.push_back(s.step >= 0 ? bound_op(s) : is_restore(s) ? bound_restore(s) : bound_copy(s));
    bind_events();
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

// The computing lane's, between two stamps.
void Program::wait_for(const std::vector<int32_t>& events) {
    if (events.empty()) return;
    backend_->stamp(Lane::compute, n_stamps_++);
    for (int32_t event : events) backend_->wait(Lane::compute, event);
    backend_->stamp(Lane::compute, n_stamps_++);
}

void Program::start_step(const BoundStep& s) {
    if (s.lane == Lane::compute) wait_for(s.waits);
    else
        for (int32_t event : s.waits) backend_->wait(s.lane, event);
    for (int32_t event : s.joins) backend_->wait(s.lane, event);
    if (s.step) backend_->run(*s.op, {s.out, s.in, &s.step->params, s.workspace});
    else if (s.op && s.lane == Lane::aside) backend_->run_aside(*s.op, {s.out, s.in, &s.params, {}});
    else if (s.op) backend_->run(*s.op, {s.out, s.in, &s.params, {}});
    else if (s.from == s.to) backend_->migrate(s.lane, s.to, s.bytes);
    else backend_->copy(s.lane, s.to, s.from, s.bytes);
    if (s.event >= 0) backend_->mark(s.lane, s.event);
}

// The other lanes part from the computing one and meet it again at the end.
void Program::start_all() {
    n_stamps_ = 0;
    if (!last_of_lanes_.empty()) backend_->mark(Lane::compute, kStarted);
    for (const auto& [lane, event] : last_of_lanes_) backend_->wait(lane, kStarted);
    for (const BoundStep& s : steps_) start_step(s);
    std::vector<int32_t> last_events;
    for (const auto& [lane, event] : last_of_lanes_)
        if (lane == Lane::aside) backend_->wait(Lane::compute, event);
        else last_events.push_back(event);
    wait_for(last_events);
}

PageTraffic Program::traffic() const {
    PageTraffic t{.bytes_in = plan_.bytes_in, .bytes_out = plan_.bytes_out};
    for (int32_t i = 0; i < n_stamps_; i += 2) {
        const double waited = backend_->seconds_between(i, i + 1);
        if (waited < kLeastStall) continue;
        ++t.stalls;
        t.stalled_seconds += waited;
    }
    return t;
}

void Program::prepare() {
    if (!backend_->records() || wants_steps_apart()) return;
    run();
    if (plan_.migrated_bytes > 0) return;  // what migrates cannot be recorded
    try {
        recording_ = backend_->record([&] { start_all(); });
    } catch (const Error& e) {
        fail("{}: {}", name_, e.what());
    }
}

std::string Program::name_of(const BoundStep& s) const {
    if (s.op) return s.op->name;
    return s.lane == Lane::in ? "copy in" : "copy out";
}

void Program::add_to(Profile& profile, const BoundStep& s, double seconds) const {
    Profile::Row& row = profile.rows[name_of(s)];
    row.seconds += seconds;
    row.calls += 1;
    profile.kernel_seconds += seconds;
    if (!s.step) {
        row.bytes += static_cast<double>(s.bytes);
        return;
    }
    std::vector<TensorType> types;
    const OpCall call = graph_->call(*s.step, types);
    if (call.op.flops) row.flops += call.op.flops(call);
    row.bytes += static_cast<double>(traffic_bytes(call));
}

// Waits for every step, so that a failure and the time have an owner.
void Program::run_apart(Profile* profile) {
    n_stamps_ = 0;
    for (const BoundStep& s : steps_) {
        const auto step_start = std::chrono::steady_clock::now();
        try {
            start_step(s);
            backend_->synchronize();
        } catch (const Error& e) {
            fail("[{}] {}: {}", name_of(s), s.step ? graph_->scope_of(*s.step) : "", e.what());
        }
        if (profile) add_to(*profile, s, seconds_since(step_start));
    }
}

void Program::run(Profile* profile) {
    if (!profile && !wants_steps_apart()) {
        start();
        try {
            backend_->synchronize();
        } catch (const Error& e) {
            fail("{}", failure(e.what()));
        }
        return;
    }
    GGQ_ASSERT(backend_ != nullptr, "run before bind");
    const auto run_start = std::chrono::steady_clock::now();
    try {
        run_apart(profile);
    } catch (const Error& e) {
        fail("{}: {}", name_, e.what());
    }
    if (profile) profile->wall_seconds += seconds_since(run_start);
}

void Program::start() {
    GGQ_ASSERT(backend_ != nullptr, "run before bind");
    if (wants_steps_apart()) return run();
    try {
        if (recording_) recording_->replay();
        else start_all();
    } catch (const Error& e) {
        fail("{}", failure(e.what()));
    }
}

std::string Program::failure(const std::string& what) const {
    return fmt::format("{}: {}{}", name_, what,
                       backend_->records() ? "; run with GGQ_SYNC=1 to learn at which step" : "");
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
