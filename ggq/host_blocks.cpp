#include "ggq/host_blocks.h"

namespace ggq {

void* HostBlocks::take(const Take& pinned, const Take& unified) {
    void* block = pager_ == Pager::managed ? nullptr : pinned();
    if (block || pager_ == Pager::copies) return block;
    block = unified();
    if (block) unified_.push_back(block);
    some_unpinned_ |= block && pager_ != Pager::managed;
    return block;
}

bool HostBlocks::forget_unified(void* block) noexcept { return std::erase(unified_, block) > 0; }

std::string HostBlocks::form() const {
    if (pager_ == Pager::managed) return "unified memory, moved by prefetch";
    return some_unpinned_ ? "unified memory with copies, which is slower, as it could not be pinned"
                          : "pinned, with copies";
}

}  // namespace ggq
