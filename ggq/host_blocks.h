// Blocks of the host's memory that a device copies pages from and to: pinned, so that copies run beside kernels; where
// that fails, unified memory, which is slower and gives the same bits.
//
// What fails is known by trying alone. The limit of locked memory (ulimit -l) says nothing of it: NVIDIA's driver pins
// pages itself and does not count them there. It fails where the machine or a container is short of memory, and in
// virtual machines that allow a share of it only (WSL).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ggq/device.h"

namespace ggq {

class HostBlocks {
public:
    using Take = std::function<void*()>;  // null where it cannot be had

    explicit HostBlocks(Pager pager) : pager_(pager) {}

    // Null where neither can be had, or only what the pager was told not to take.
    void* take(const Take& pinned, const Take& unified);
    // Whether a block that is given back was unified; it is forgotten.
    bool forget_unified(void* block) noexcept;

    std::string form() const;  // for notes: "pinned, with copies"

private:
    Pager pager_;
    bool some_unpinned_ = false;  // although pinned memory was asked for
    std::vector<void*> unified_;
};

}  // namespace ggq
