// When pages lie on the device and when they are copied: a pure function of their uses, the room for them and the time
// that everything takes. A static graph knows all of this in advance.
//
// Of what does not fit, that goes whose next use is farthest (Belady, 1966). What is needed again is copied in as late
// as hides the copy, or as early as there is room. Frozen pages are dropped, never written back.
#pragma once

#include <cstdint>
#include <vector>

namespace ggq {

struct Page {
    struct Use {
        int32_t step = 0;
        bool writes = false;
    };

    int64_t bytes = 0;
    std::vector<Use> uses = {};  // ascending, a step once
    bool made_here = false;      // the first use makes it; else it comes from the host
    bool needed_after = false;   // what is written to it has to reach the host by the end
};

struct PagingProblem {
    std::vector<Page> pages;
    std::vector<int64_t> room;         // bytes for pages at each step; what a step uses is there even beyond it
    std::vector<double> seconds;       // of each step
    double copy_in = 1, copy_out = 1;  // bytes a second
};

// A page on the device from before `first` until after `last`.
struct Stay {
    int32_t page = 0;
    int32_t first = 0, last = 0;  // uses
    int32_t fetch = -1;           // its copy in starts before this step; -1: it is made here
    int32_t release = -1;  // its copy out, which starts after `last`, has ended before this step; -1: there is none
};

// By first use, then by page. The memory of a stay is taken from `fetch` (or `first`) until before `release` (or until
// after `last`). Where not everything can stay, `n_ahead` times the largest page is left for copies that run ahead.
std::vector<Stay> plan_stays(const PagingProblem& problem, int n_ahead = 3);

}  // namespace ggq
