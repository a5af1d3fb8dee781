#include "ggq/page_steps.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "ggq/backend.h"
#include "ggq/page_policy.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

const Value& value_of(const Graph& graph, int32_t id) { return graph.values()[static_cast<size_t>(id)]; }

class PageSteps {
public:
    PageSteps(const Graph& graph, const Backend& backend, int64_t room, bool offload, Plan& plan)
        : graph_(graph),
          costs_(backend.costs()),
          migrates_(backend.migrates()),
          room_(room),
          offload_(offload),
          plan_(plan),
          n_steps_(plan.steps.size()) {}

    void run() {
        find_seconds();
        find_pages();
        if (problem_.pages.empty()) return;
        find_room();
        stays_ = plan_stays(problem_);
        make_instances();
        add_copies();
        count_lifetimes_anew();
        place_on_host();
    }

private:
    int32_t owner(int32_t tensor) const { return plan_.tensors[static_cast<size_t>(tensor)].storage; }
    PlannedTensor& tensor(int32_t index) { return plan_.tensors[static_cast<size_t>(index)]; }

    void find_seconds() {
        std::vector<TensorType> types;
        for (const PlannedStep& s : plan_.steps)
            problem_.seconds.push_back(
                seconds_of(graph_, graph_.steps()[static_cast<size_t>(s.step)], costs_, plan_.keys_a_query, types));
        problem_.copy_in = costs_.copy_in;
        problem_.copy_out = costs_.copy_out;
    }

    // A page for each paged buffer, whatever versions of it the graph has, and for each value that may be offloaded.
    void find_pages() {
        page_of_.assign(plan_.tensors.size(), -1);
        std::map<const Buffer*, int32_t> of_buffer;
        for (size_t i = 0; i < n_steps_; ++i) {
            const PlannedStep& s = plan_.steps[i];
            for (int32_t t : s.in) note_use(owner(t), i, false, of_buffer);
            for (int32_t t : s.out) note_use(owner(t), i, true, of_buffer);
        }
        std::vector<double> starts(n_steps_ + 1, 0);
        std::partial_sum(problem_.seconds.begin(), problem_.seconds.end(), starts.begin() + 1);
        for (int32_t& page : page_of_)
            if (page >= 0 && !worth_going(problem_.pages[static_cast<size_t>(page)], starts)) {
                problem_.pages[static_cast<size_t>(page)].uses.clear();
                page = -1;
            }
    }

    // Whether a value waits for much longer than its copies take.
    bool worth_going(const Page& page, const std::vector<double>& starts) const {
        if (!page.made_here) return true;
        const auto bytes = static_cast<double>(page.bytes);
        const double copies = bytes / problem_.copy_in + bytes / problem_.copy_out + 2 * costs_.rest.start;
        for (size_t u = 0; u + 1 < page.uses.size(); ++u)
            if (starts[static_cast<size_t>(page.uses[u + 1].step)] - starts[static_cast<size_t>(page.uses[u].step)] >
                3 * copies)
                return true;
        return false;
    }

    void note_use(int32_t storage, size_t step, bool writes, std::map<const Buffer*, int32_t>& of_buffer) {
        int32_t& page = page_of_[static_cast<size_t>(storage)];
        if (page < 0) page = page_for(storage, of_buffer);
        if (page < 0) return;
        Page& used = problem_.pages[static_cast<size_t>(page)];
        std::vector<Page::Use>& uses = used.uses;
        writes |= migrates_ && !used.made_here;  // there is no other copy of it: it goes back even if it is the same
        const auto at = static_cast<int32_t>(step);
        if (uses.empty() || uses.back().step != at) uses.push_back({at, writes});
        else uses.back().writes |= writes;
    }

    int32_t page_for(int32_t storage, std::map<const Buffer*, int32_t>& of_buffer) {
        const PlannedTensor& t = tensor(storage);
        const Value& v = value_of(graph_, t.value);
        Page page;
        page.bytes = place_bytes(v.type.bytes());
        const auto next = static_cast<int32_t>(problem_.pages.size());
        if (v.buffer) {
            if (v.buffer->root().residence != Residence::paged) return -1;
            if (const auto known = of_buffer.find(v.buffer); known != of_buffer.end()) return known->second;
            of_buffer[v.buffer] = next;
            page.needed_after = true;
        } else {
            if (!can_go(t, v)) return -1;
            page.made_here = true;
        }
        problem_.pages.push_back(std::move(page));
        return next;
    }

    // A value of the forward pass that the backward pass reads.
    bool can_go(const PlannedTensor& t, const Value& v) const {
        if (!offload_ || v.output || v.kind != Kind::temporary || t.last < 0 || v.step < 0) return false;
        const Step& maker = graph_.steps()[static_cast<size_t>(v.step)];
        if (maker.backward || plan_.steps[static_cast<size_t>(t.first)].recomputed) return false;
        constexpr int64_t kLeast = 4 << 10;  // bytes
        return v.type.bytes() >= kLeast;
    }

    // What temporaries and workspace leave.
    void find_room() {
        const int64_t whole = room_ > 0 ? room_ : std::numeric_limits<int64_t>::max() / 2;
        problem_.room.assign(n_steps_, whole);
        for (size_t i = 0; i < plan_.tensors.size(); ++i) {
            const PlannedTensor& t = plan_.tensors[i];
            if (t.storage != static_cast<int32_t>(i) || t.bytes == 0 || t.last < 0 || page_of_[i] >= 0) continue;
            const auto end = std::min(static_cast<size_t>(t.last) + 1, n_steps_);
            for (auto at = static_cast<size_t>(t.first); at < end; ++at) problem_.room[at] -= place_bytes(t.bytes);
        }
        for (size_t i = 0; i < n_steps_; ++i) problem_.room[i] -= place_bytes(plan_.steps[i].workspace_bytes);
    }

    // Every stay is a tensor of its own, but the one in which a value is made: that is the value itself.
    void make_instances() {
        std::vector<std::vector<int32_t>> stays_of(problem_.pages.size());
        for (size_t i = 0; i < stays_.size(); ++i)
            stays_of[static_cast<size_t>(stays_[i].page)].push_back(static_cast<int32_t>(i));
        instance_.assign(stays_.size(), -1);
        std::vector<size_t> current(problem_.pages.size(), 0);  // by page: which of its stays
        for (size_t i = 0; i < n_steps_; ++i) {
            const auto replace = [&](int32_t& t) {
                const int32_t page = page_of_[static_cast<size_t>(owner(t))];
                if (page < 0) return;
                const std::vector<int32_t>& stays = stays_of[static_cast<size_t>(page)];
                size_t& at = current[static_cast<size_t>(page)];
                while (stays_[static_cast<size_t>(stays[at])].last < static_cast<int32_t>(i)) ++at;
                t = in_stay(t, stays[at]);
            };
            std::ranges::for_each(plan_.steps[i].in, replace);
            std::ranges::for_each(plan_.steps[i].out, replace);
        }
    }

    int32_t in_stay(int32_t t, int32_t stay) {
        const Stay& s = stays_[static_cast<size_t>(stay)];
        const bool made = problem_.pages[static_cast<size_t>(s.page)].made_here && s.fetch < 0;
        int32_t& whole = instance_[static_cast<size_t>(stay)];
        const int32_t storage = owner(t);
        if (whole < 0) whole = made ? storage : add_tensor(tensor(storage).value, -1);
        tensor(whole).in_place = migrates_ && !problem_.pages[static_cast<size_t>(s.page)].made_here;
        if (made) return t;
        if (tensor(t).value == tensor(whole).value) return whole;
        const auto [known, is_new] = looks_.try_emplace({t, stay}, -1);
        if (is_new) known->second = add_tensor(tensor(t).value, whole);
        return known->second;
    }

    int32_t add_tensor(int32_t value, int32_t storage) {
        const auto index = static_cast<int32_t>(plan_.tensors.size());
        const int64_t bytes = storage < 0 ? value_of(graph_, value).type.bytes() : 0;
        plan_.tensors.push_back(
            {.value = value, .storage = storage < 0 ? index : storage, .offset = -1, .bytes = bytes});
        return index;
    }

    // Ops and copies in one order. Before an op: what is copied in from there on. After it: what is copied out.
    void add_copies() {
        std::vector<std::vector<int32_t>> fetched_at(n_steps_ + 1), put_after(n_steps_), first_used_at(n_steps_),
            released_at(n_steps_ + 1);
        for (size_t i = 0; i < stays_.size(); ++i) {
            const Stay& s = stays_[i];
            const auto stay = static_cast<int32_t>(i);
            if (s.fetch >= 0) {
                fetched_at[static_cast<size_t>(s.fetch)].push_back(stay);
                first_used_at[static_cast<size_t>(s.first)].push_back(stay);
            }
            if (s.release >= 0) {
                put_after[static_cast<size_t>(s.last)].push_back(stay);
                released_at[static_cast<size_t>(s.release)].push_back(stay);
            }
        }
        std::vector<PlannedStep> ops = std::move(plan_.steps);
        plan_.steps.clear();
        new_index_.assign(n_steps_, 0);
        fetch_step_.assign(stays_.size(), -1);
        put_step_.assign(stays_.size(), -1);
        std::vector<int32_t> last_put(problem_.pages.size(), -1);  // by page
        int32_t last_op = -1;
        for (size_t i = 0; i < n_steps_; ++i) {
            for (int32_t stay : fetched_at[i]) fetch(stay, last_op, last_put);
            for (int32_t stay : first_used_at[i]) ops[i].after.push_back(fetch_step_[static_cast<size_t>(stay)]);
            for (int32_t stay : released_at[i]) ops[i].after.push_back(put_step_[static_cast<size_t>(stay)]);
            new_index_[i] = last_op = static_cast<int32_t>(plan_.steps.size());
            plan_.steps.push_back(std::move(ops[i]));
            for (int32_t stay : put_after[i]) put(stay, last_op, last_put);
        }
    }

    // Its memory was that of ops before, and the host has its bytes only once they were copied out.
    void fetch(int32_t stay, int32_t last_op, const std::vector<int32_t>& last_put) {
        const int32_t page = stays_[static_cast<size_t>(stay)].page, to = instance_[static_cast<size_t>(stay)];
        PlannedStep s{.out = {to}, .lane = Lane::in};
        if (last_op >= 0) s.after.push_back(last_op);
        if (const int32_t put = last_put[static_cast<size_t>(page)]; put >= 0) s.after.push_back(put);
        plan_.bytes_in += tensor(to).bytes;
        fetch_step_[static_cast<size_t>(stay)] = static_cast<int32_t>(plan_.steps.size());
        plan_.steps.push_back(std::move(s));
    }

    void put(int32_t stay, int32_t last_op, std::vector<int32_t>& last_put) {
        const int32_t from = instance_[static_cast<size_t>(stay)];
        plan_.bytes_out += tensor(from).bytes;
        put_step_[static_cast<size_t>(stay)] = last_put[static_cast<size_t>(stays_[static_cast<size_t>(stay)].page)] =
            static_cast<int32_t>(plan_.steps.size());
        plan_.steps.push_back({.in = {from}, .lane = Lane::out, .after = {last_op}});
    }

    int32_t renumbered(int32_t op) const {
        return op < static_cast<int32_t>(n_steps_) ? new_index_[static_cast<size_t>(op)]
                                                   : static_cast<int32_t>(plan_.steps.size());
    }

    void count_lifetimes_anew() {
        for (PlannedTensor& t : plan_.tensors) {
            if (t.last < 0) continue;
            t.first = renumbered(t.first);
            t.last = renumbered(t.last);
        }
        for (size_t i = 0; i < stays_.size(); ++i) {
            const Stay& s = stays_[i];
            PlannedTensor& t = tensor(instance_[i]);
            t.first = s.fetch >= 0 ? fetch_step_[i] : renumbered(s.first);
            t.last = s.release >= 0 ? renumbered(s.release) - 1 : renumbered(s.last);
        }
    }

    // Kept values share the host's arena, each from its copy out to its last copy in.
    void place_on_host() {
        std::map<int32_t, Lifetime> homes;  // by page
        for (size_t i = 0; i < stays_.size(); ++i) {
            const int32_t page = stays_[i].page;
            if (!problem_.pages[static_cast<size_t>(page)].made_here) continue;
            if (put_step_[i] >= 0) homes[page] = {tensor(instance_[i]).bytes, put_step_[i], put_step_[i]};
            if (fetch_step_[i] >= 0) homes[page].last = last_reader(fetch_step_[i]);
        }
        std::vector<Lifetime> blocks;
        for (const auto& [page, home] : homes) blocks.push_back(home);
        const std::vector<int64_t> offsets = place(blocks);
        std::map<int32_t, int64_t> offset_of;
        size_t next = 0;
        for (const auto& [page, home] : homes) {
            plan_.host_bytes = std::max(plan_.host_bytes, offsets[next] + place_bytes(home.bytes));
            offset_of[page] = offsets[next++];
        }
        for (size_t i = 0; i < stays_.size(); ++i) {
            const auto home = offset_of.find(stays_[i].page);
            if (home == offset_of.end()) continue;
            for (int32_t copy : {fetch_step_[i], put_step_[i]})
                if (copy >= 0) plan_.steps[static_cast<size_t>(copy)].host_offset = home->second;
        }
    }

    // The op that waits for a copy in: from then on its home can be written.
    int32_t last_reader(int32_t fetch) const {
        const auto waits = [&](const PlannedStep& s) { return std::ranges::find(s.after, fetch) != s.after.end(); };
        const auto op = std::find_if(plan_.steps.begin() + fetch, plan_.steps.end(), waits);
        return static_cast<int32_t>(op - plan_.steps.begin());
    }

    const Graph& graph_;
    const Costs costs_;
    bool migrates_;
    int64_t room_;
    bool offload_;
    Plan& plan_;
    size_t n_steps_;  // ops
    PagingProblem problem_;
    std::vector<int32_t> page_of_;  // by planned tensor, of owners
    std::vector<Stay> stays_;
    std::vector<int32_t> instance_;                         // by stay
    std::map<std::pair<int32_t, int32_t>, int32_t> looks_;  // other tensors over the same memory, by tensor and stay
    std::vector<int32_t> new_index_;                        // by op
    std::vector<int32_t> fetch_step_, put_step_;            // by stay
};

}  // namespace

void insert_pages(const Graph& graph, const Backend& backend, int64_t room, bool offload, Plan& plan) {
    PageSteps(graph, backend, room, offload, plan).run();
}

}  // namespace ggq
