// The picture of a plan: what lies on the device at each planned step of an update, stacked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "examples/support/painter.h"
#include "ggq/arena_use.h"
#include "models/train/training_model.h"

namespace ggq {

struct ProgramMemory {
    std::string name;
    size_t first_backward = 0;    // the number of steps where there is no backward pass
    std::vector<ArenaUse> steps;  // never empty
};

struct IterationMemory {
    std::string title;
    int64_t overhead = 0, weights = 0, state = 0;  // bytes on the device all the time
    std::vector<ProgramMemory> programs;           // in the order in which they run
    int64_t planned = 0;                           // the plan's peak: gaps in the arena and other programs count

    int64_t resident() const { return overhead + weights + state; }
    int64_t at(const ArenaUse& use) const { return resident() + use.live() + use.migrated; }
};

IterationMemory memory_of(const TrainingModel& training, std::string title);

// A step of an iteration; that of the peak is the first at which most lies on the device.
struct StepPlace {
    size_t program = 0, step = 0;
};
StepPlace peak_of(const IterationMemory& memory);

constexpr int kPictureWidth = 1280, kPictureHeight = 800;
void draw(const IterationMemory& memory, Painter& painter);

// As PNG or SVG, by the ending, which is one of the two.
bool is_picture(const std::filesystem::path& path);
void save_picture(const IterationMemory& memory, const std::filesystem::path& path);

}  // namespace ggq
