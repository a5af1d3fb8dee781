// The planned memory of a program set as people read it: a line a class of memory, in MiB on the device and, where
// anything is there, on the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ggq/arena_use.h"
#include "ggq/program_set.h"

namespace ggq {

struct MemoryClass {
    std::string what;
    int64_t device = 0, host = 0;  // bytes

    void add(const Buffer& b) { (b.on_host() ? host : device) += b.bytes(); }
};

// What the arena holds where the program that needs the most of it is fullest. Together with the gaps between its
// values it is the arena, to the byte.
struct FullestArena {
    const Program* program = nullptr;
    size_t step = 0;  // planned
    ArenaUse use;
    int64_t gaps = 0;
};

FullestArena fullest_arena(const ProgramSet& set);

// From the classes, which say what lies outside of the arena, to the sum; what they do not name is told as inputs.
std::vector<std::string> memory_lines(const ProgramSet& set, const std::vector<MemoryClass>& classes);

// What each program needs of the arena that they share.
std::vector<std::string> arena_lines(const ProgramSet& set);

}  // namespace ggq
