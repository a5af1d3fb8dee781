#include "ggq/page_policy.h"

#include <algorithm>
#include <numeric>

namespace ggq {

namespace {

// Steps between two uses of a page, over which it may stay.
struct Gap {
    int32_t page = 0, use = 0;  // the earlier use
    int32_t from = 0, to = 0;   // the steps between
    bool kept = true;
};

class Planner {
public:
    Planner(const PagingProblem& problem, int n_ahead)
        : p_(problem), n_ahead_(n_ahead), load_(problem.room.size(), 0), starts_(problem.room.size() + 1, 0) {
        std::partial_sum(p_.seconds.begin(), p_.seconds.end(), starts_.begin() + 1);
    }

    std::vector<Stay> run() {
        for (const Page& page : p_.pages)
            for (const Page::Use& use : page.uses) load_[static_cast<size_t>(use.step)] += page.bytes;
        find_gaps();
        if (drop_gaps(0)) {
            for (Gap& g : gaps_) g.kept = true;
            drop_gaps(reserve());
        }
        for (const Gap& g : gaps_)
            if (g.kept) take(g.from, g.to, p_.pages[static_cast<size_t>(g.page)].bytes);
        find_stays();
        write_back_all();
        fetch_all();
        return std::move(stays_);
    }

private:
    void take(int32_t from, int32_t to, int64_t bytes) {
        for (int32_t i = from; i <= to; ++i) load_[static_cast<size_t>(i)] += bytes;
    }
    bool has_room(int32_t step, int64_t bytes) const {
        return load_[static_cast<size_t>(step)] + bytes <= p_.room[static_cast<size_t>(step)];
    }
    int32_t n_steps() const { return static_cast<int32_t>(p_.room.size()); }

    // The step that runs at a time; the number of steps after the last one.
    int32_t step_at(double time) const {
        const auto next = std::upper_bound(starts_.begin(), starts_.end(), time);
        return std::clamp(static_cast<int32_t>(next - starts_.begin()) - 1, 0, n_steps());
    }

    void find_gaps() {
        for (size_t i = 0; i < p_.pages.size(); ++i) {
            const std::vector<Page::Use>& uses = p_.pages[i].uses;
            for (size_t u = 0; u + 1 < uses.size(); ++u)
                gaps_.push_back(
                    {static_cast<int32_t>(i), static_cast<int32_t>(u), uses[u].step + 1, uses[u + 1].step - 1, true});
        }
    }

    // Room in which copies run ahead, when not everything can stay.
    int64_t reserve() const {
        int64_t largest = 0;
        for (const Page& page : p_.pages) largest = std::max(largest, page.bytes);
        return n_ahead_ * largest;
    }

    // Whether any had to go.
    bool drop_gaps(int64_t reserved) {
        std::vector<Gap*> by_start;
        for (Gap& g : gaps_)
            if (g.from <= g.to) by_start.push_back(&g);
        std::ranges::stable_sort(by_start, {}, &Gap::from);
        const auto bytes_of = [&](const Gap* g) { return p_.pages[static_cast<size_t>(g->page)].bytes; };
        const auto ends_first = [](const Gap* a, const Gap* b) { return a->to < b->to; };
        std::vector<Gap*> open;  // a heap, the farthest end in front
        int64_t open_bytes = 0;
        bool dropped = false;
        size_t next = 0;
        for (int32_t i = 0; i < n_steps(); ++i) {
            std::erase_if(open, [&](const Gap* g) {
                if (g->to >= i) return false;
                open_bytes -= bytes_of(g);
                return true;
            });
            for (; next < by_start.size() && by_start[next]->from == i; ++next) {
                open.push_back(by_start[next]);
                open_bytes += bytes_of(open.back());
            }
            while (!open.empty() && !has_room(i, open_bytes + reserved)) {
                const auto farthest = std::ranges::max_element(open, ends_first);
                (*farthest)->kept = false;
                open_bytes -= bytes_of(*farthest);
                open.erase(farthest);
                dropped = true;
            }
        }
        return dropped;
    }

    void find_stays() {
        size_t gap = 0;  // they stand in the order of pages and uses
        for (size_t i = 0; i < p_.pages.size(); ++i) {
            const Page& page = p_.pages[i];
            bool on_host = !page.made_here, dirty = page.made_here;
            for (size_t u = 0; u < page.uses.size();) {
                Stay s{static_cast<int32_t>(i), page.uses[u].step, page.uses[u].step, -1, -1};
                bool last = false;
                for (bool stays = true; stays; ++u) {
                    s.last = page.uses[u].step;
                    dirty |= page.uses[u].writes;
                    last = u + 1 == page.uses.size();
                    stays = !last && gaps_[gap++].kept;
                }
                if (on_host) s.fetch = s.first;
                if (dirty && (page.needed_after || !last)) {
                    s.release = s.last + 1;
                    dirty = false;
                }
                on_host = true;
                stays_.push_back(s);
            }
        }
        std::ranges::stable_sort(stays_, {}, &Stay::first);
    }

    void write_back_all() {
        std::vector<Stay*> by_end;
        for (Stay& s : stays_)
            if (s.release >= 0) by_end.push_back(&s);
        std::ranges::stable_sort(by_end, {}, &Stay::last);
        for (Stay* s : by_end) write_back(*s);
    }

    // The copy out keeps the page's memory for as long as it is likely to take, or as there is room.
    void write_back(Stay& s) {
        const int64_t bytes = p_.pages[static_cast<size_t>(s.page)].bytes;
        const double begin = std::max(out_free_, starts_[static_cast<size_t>(s.last) + 1]);
        out_free_ = begin + static_cast<double>(bytes) / p_.copy_out;
        const int32_t end = std::min(step_at(out_free_) + 1, n_steps());
        for (; s.release < end && has_room(s.release, bytes); ++s.release) take(s.release, s.release, bytes);
    }

    // Backwards, the last time at which each copy can start; then forwards, as early as that and as there is room.
    void fetch_all() {
        std::vector<double> latest(stays_.size());
        double next = starts_.back();
        for (size_t i = stays_.size(); i-- > 0;) {
            if (stays_[i].fetch < 0) continue;
            const double copy = copy_seconds(stays_[i]);
            next = std::min(next, starts_[static_cast<size_t>(stays_[i].first)]) - copy;
            latest[i] = next - copy;  // a copy's time to spare
        }
        std::vector<int32_t> free_from(p_.pages.size(), 0);  // by page: after its stay before
        for (size_t i = 0; i < stays_.size(); ++i) {
            Stay& s = stays_[i];
            const auto page = static_cast<size_t>(s.page);
            if (s.fetch >= 0) {
                const int32_t earliest = std::max(free_from[page], step_at(std::max(0.0, latest[i])));
                const int64_t bytes = p_.pages[page].bytes;
                for (; s.fetch > earliest && has_room(s.fetch - 1, bytes); --s.fetch)
                    take(s.fetch - 1, s.fetch - 1, bytes);
            }
            free_from[page] = std::max(s.last + 1, s.release);
        }
    }

    double copy_seconds(const Stay& s) const {
        return static_cast<double>(p_.pages[static_cast<size_t>(s.page)].bytes) / p_.copy_in;
    }

    const PagingProblem& p_;
    int n_ahead_;
    std::vector<int64_t> load_;   // bytes of pages at each step
    std::vector<double> starts_;  // of each step, and the end
    std::vector<Gap> gaps_;
    std::vector<Stay> stays_;
    double out_free_ = 0;
};

}  // namespace

std::vector<Stay> plan_stays(const PagingProblem& problem, int n_ahead) { return Planner(problem, n_ahead).run(); }

}  // namespace ggq
