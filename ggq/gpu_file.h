// A card described in a file: its facts, what work costs on it and the choices among kernels, as the program `tune`
// writes them. Planned with, it stands for a card that is not there; given to a card that is, its costs and choices
// take the place of those that are built in.
//
//   {"card": "NVIDIA H200", "capability": 90, "multiprocessors": 132, "shared_bytes": 232448, "memory_mib": 143360,
//    "overhead_mib": 604,
//    "costs": {"copy_in": 5e10, "copy_out": 5e10, "rest": {"flops": 7e14, "bytes": 3.2e12, "start": 3e-6},
//              "ops": {"attention": {"flops": 5.4e14, "bytes": 3e12, "start": 4e-6}}},
//    "tuning": {"few_rows": 8}}
//
// Costs and tuning may be left out, as may each choice. Estimates and choices decide what is done when and how fast,
// never what a result means; a choice that this version does not have is passed over.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ggq/device.h"
#include "ggq/gpu_table.h"

namespace ggq {

struct GpuFile {
    GpuModel model;                    // of costs and choices that the file leaves out what is built in
    std::vector<std::string> ignored;  // a sentence for each choice that was passed over
};

// Throws Error "<path>: ..." for what is no such file.
GpuFile read_gpu_file(const std::filesystem::path& path);

// Costs and choices of the file at `path` for a device that is to be opened; nothing if the path is empty.
void take_gpu_table(DeviceOptions& options, const std::string& path);

std::string gpu_file_text(const GpuModel& model);

}  // namespace ggq
