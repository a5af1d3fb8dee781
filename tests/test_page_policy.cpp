// The pager's policy: no more copies than the fewest possible, never more on the device than there is room, and copies
// early enough where there is time.
#include "ggq/page_policy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace ggq::test {

namespace {

Page page_used_at(const std::vector<int32_t>& steps, int64_t bytes = 1) {
    Page page{.bytes = bytes};
    for (int32_t s : steps) page.uses.push_back({s, false});
    return page;
}

PagingProblem problem_of(std::vector<Page> pages, int32_t n_steps, int64_t room) {
    PagingProblem p;
    p.pages = std::move(pages);
    p.room.assign(static_cast<size_t>(n_steps), room);
    p.seconds.assign(static_cast<size_t>(n_steps), 1.0);
    p.copy_in = p.copy_out = 1e9;
    return p;
}

// Each step reads one page of size one.
PagingProblem random_problem(uint64_t seed) {
    std::mt19937_64 engine(seed);
    const auto n_pages = 2 + engine() % 4, n_steps = 4 + engine() % 8, room = 2 + engine() % 3;
    std::vector<Page> pages(n_pages, Page{.bytes = 1});
    for (uint64_t s = 0; s < n_steps; ++s) pages[engine() % n_pages].uses.push_back({static_cast<int32_t>(s), false});
    PagingProblem p = problem_of(std::move(pages), static_cast<int32_t>(n_steps), static_cast<int64_t>(room));
    for (int64_t& r : p.room) r -= static_cast<int64_t>(engine() % 2);
    return p;
}

int n_fetches(const std::vector<Stay>& stays) {
    return static_cast<int>(std::ranges::count_if(stays, [](const Stay& s) { return s.fetch >= 0; }));
}

// The fewest by trying everything: at each step any set of pages may stay that the room holds.
int fewest_fetches(const PagingProblem& p) {
    std::map<uint32_t, int> best = {{0, 0}};  // by the pages that are there
    for (size_t s = 0; s < p.room.size(); ++s) {
        uint32_t used = 0;
        for (size_t i = 0; i < p.pages.size(); ++i)
            for (const Page::Use& u : p.pages[i].uses) used |= u.step == static_cast<int32_t>(s) ? 1u << i : 0;
        std::map<uint32_t, int> next;
        for (const auto& [there, n] : best)
            for (uint32_t stay = there;; stay = (stay - 1) & there) {
                const uint32_t now = stay | used;
                if (std::popcount(now) <= std::max<int64_t>(p.room[s], std::popcount(used))) {
                    const int cost = n + std::popcount(used & ~stay);
                    const auto [it, is_new] = next.try_emplace(now, cost);
                    if (!is_new) it->second = std::min(it->second, cost);
                }
                if (stay == 0) break;
            }
        best = std::move(next);
    }
    int fewest = INT32_MAX;
    for (const auto& [there, n] : best) fewest = std::min(fewest, n);
    return fewest;
}

std::vector<int64_t> load_of(const PagingProblem& p, const std::vector<Stay>& stays) {
    std::vector<int64_t> load(p.room.size(), 0);
    for (const Stay& s : stays) {
        const int32_t from = s.fetch >= 0 ? s.fetch : s.first, to = s.release >= 0 ? s.release - 1 : s.last;
        for (int32_t i = from; i <= to; ++i) load[static_cast<size_t>(i)] += p.pages[static_cast<size_t>(s.page)].bytes;
    }
    return load;
}

// The uses of every page lie in its stays, which do not overlap.
void check_covers(const PagingProblem& p, const std::vector<Stay>& stays) {
    for (size_t i = 0; i < p.pages.size(); ++i) {
        std::multiset<int32_t> covered;
        int32_t end = -1;
        for (const Stay& s : stays) {
            if (s.page != static_cast<int32_t>(i)) continue;
            CHECK(s.first > end);
            end = s.last;
            for (const Page::Use& u : p.pages[i].uses)
                if (s.first <= u.step && u.step <= s.last) covered.insert(u.step);
        }
        CHECK(covered.size() == p.pages[i].uses.size());
    }
}

}  // namespace

TEST_CASE("as few copies as the fewest possible") {
    // Without time to spare nothing is held back for copies that run ahead, which the fewest do not know of.
    for (uint64_t seed = 0; seed < 400; ++seed) {
        CAPTURE(seed);
        const PagingProblem p = random_problem(seed);
        const std::vector<Stay> stays = plan_stays(p, 0);
        check_covers(p, stays);
        CHECK(n_fetches(stays) == fewest_fetches(p));
        const std::vector<int64_t> load = load_of(p, stays);
        for (size_t i = 0; i < load.size(); ++i) CHECK(load[i] <= std::max<int64_t>(p.room[i], 1));
    }
}

TEST_CASE("what all fits is copied in once and stays") {
    const PagingProblem p = problem_of({page_used_at({1, 9}), page_used_at({2, 8}), page_used_at({4, 5})}, 10, 3);
    const std::vector<Stay> stays = plan_stays(p);
    CHECK(n_fetches(stays) == 3);
    CHECK(stays.size() == 3);
}

TEST_CASE("a copy in starts early enough to be hidden, and not much earlier") {
    PagingProblem p = problem_of({page_used_at({10}), page_used_at({11})}, 20, 2);
    p.copy_in = 0.5;  // two steps a page
    const std::vector<Stay> stays = plan_stays(p);
    // The second copy begins by step 9, so the first by 7; each has its own time to spare.
    CHECK(stays[0].fetch == 5);
    CHECK(stays[1].fetch == 7);
}

TEST_CASE("where there is no room a copy in comes later") {
    PagingProblem p = problem_of({page_used_at({10})}, 20, 1);
    p.copy_in = 0.25;
    p.room[7] = 0;
    CHECK(plan_stays(p)[0].fetch == 8);
}

TEST_CASE("what is written reaches the host, frozen pages never do") {
    PagingProblem p = problem_of({page_used_at({0, 8}), page_used_at({1, 9}), page_used_at({2, 7})}, 10, 1);
    p.pages[1].needed_after = true;
    p.pages[1].uses[1].writes = true;
    p.pages[2].made_here = true;
    p.copy_out = 1;
    std::map<int32_t, std::vector<Stay>> by_page;
    for (const Stay& s : plan_stays(p)) by_page[s.page].push_back(s);
    CHECK(std::ranges::all_of(by_page[0], [](const Stay& s) { return s.release < 0 && s.fetch >= 0; }));
    // Page 1 is written at its last use, of which the host wants to know.
    CHECK(by_page[1][0].release < 0);
    CHECK(by_page[1][1].release == 10);
    // Page 2 is made here, waits on the host, and is not needed after its last use.
    CHECK(by_page[2].size() == 2);
    CHECK(by_page[2][0].fetch < 0);
    CHECK(by_page[2][0].release > 2);
    CHECK(by_page[2][1].fetch > 2);
    CHECK(by_page[2][1].release < 0);
}

TEST_CASE("pages of many sizes: within the room wherever what a step uses allows it") {
    for (uint64_t seed = 0; seed < 200; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 engine(seed);
        std::vector<Page> pages(8);
        for (Page& page : pages) {
            page.bytes = static_cast<int64_t>(1 + engine() % 30);
            std::set<int32_t> steps;
            for (int i = 0; i < 5; ++i) steps.insert(static_cast<int32_t>(engine() % 60));
            for (int32_t s : steps) page.uses.push_back({s, engine() % 3 == 0});
            page.made_here = engine() % 3 == 0;
            page.needed_after = !page.made_here;
        }
        PagingProblem p = problem_of(std::move(pages), 60, 60);
        p.copy_in = 10;
        p.copy_out = 7;
        const std::vector<Stay> stays = plan_stays(p);
        check_covers(p, stays);
        std::vector<int64_t> least(p.room.size(), 0);
        for (const Page& page : p.pages)
            for (const Page::Use& u : page.uses) least[static_cast<size_t>(u.step)] += page.bytes;
        const std::vector<int64_t> load = load_of(p, stays);
        for (size_t i = 0; i < load.size(); ++i) CHECK(load[i] <= std::max(p.room[i], least[i]));
    }
}

}  // namespace ggq::test
