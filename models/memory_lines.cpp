#include "models/memory_lines.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/figures.h"

namespace ggq {

namespace {

std::string line(const MemoryClass& c, const char* indent = "  ") {
    std::string text = fmt::format("{:<36}{:>12.2f} MiB", indent + c.what, mebibytes(c.device));
    if (c.host > 0) text += fmt::format(" {:>12.2f} MiB", mebibytes(c.host));
    return text;
}

int64_t on_device(const std::vector<MemoryClass>& classes) {
    int64_t n_bytes = 0;
    for (const MemoryClass& c : classes) n_bytes += c.device;
    return n_bytes;
}

void add_arena(const ProgramSet& set, std::vector<std::string>& lines) {
    const MemoryUse use = set.memory();
    const FullestArena fullest = fullest_arena(set);
    lines.push_back(line({"arena, at its fullest", use.arena, use.host_arena}));
    const MemoryClass parts[] = {{"kept activations", fullest.use.kept},
                                 {"temporaries", fullest.use.temporaries},
                                 {"pages", fullest.use.pages},
                                 {"workspace", fullest.use.workspace},
                                 {"gaps between them", fullest.gaps}};
    for (const MemoryClass& part : parts)
        if (part.device > 0) lines.push_back(line(part, "    "));
}

}  // namespace

FullestArena fullest_arena(const ProgramSet& set) {
    FullestArena fullest;
    const std::vector<const Program*> programs = set.programs();
    if (programs.empty()) return fullest;
    fullest.program = *std::ranges::max_element(programs, {}, [](const Program* p) { return p->plan().arena_bytes; });
    const std::vector<ArenaUse> use = arena_use(fullest.program->plan(), fullest.program->graph());
    fullest.step = fullest_step(use);
    if (!use.empty()) fullest.use = use[fullest.step];
    fullest.gaps = fullest.program->plan().arena_bytes - fullest.use.live();
    return fullest;
}

std::vector<std::string> memory_lines(const ProgramSet& set, const std::vector<MemoryClass>& classes) {
    const MemoryUse use = set.memory();
    std::vector<std::string> lines;
    lines.push_back(use.host_total() > 0 ? fmt::format("{:<36}{:>16} {:>16}", "memory:", "device", "host") : "memory:");
    for (const MemoryClass& c : classes)
        if (c.device + c.host > 0) lines.push_back(line(c));
    lines.push_back(line({"inputs and counters", use.total() - use.arena - on_device(classes)}));
    add_arena(set, lines);
    if (use.migrated > 0) lines.push_back(line({"pages of unified memory, at most", use.migrated}));
    if (use.overhead > 0) lines.push_back(line({"context and libraries of the GPU", use.overhead}));
    lines.push_back(line({"peak", use.total() + use.migrated + use.overhead, use.host_total()}));
    return lines;
}

std::vector<std::string> arena_lines(const ProgramSet& set) {
    std::vector<std::string> lines = {"of the arena, which they share, need:"};
    for (const Program* p : set.programs())
        lines.push_back(line({p->name(), p->plan().arena_bytes, p->plan().host_bytes}));
    return lines;
}

}  // namespace ggq
