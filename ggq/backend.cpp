#include "ggq/backend.h"

#include <algorithm>

#include "ggq/error.h"

namespace ggq {

std::unique_ptr<Recording> Backend::record(const std::function<void()>&) { return nullptr; }

int64_t Backend::overhead_bytes() const { return 0; }

void* Backend::allocate(int64_t bytes) {
    void* data = bytes > 0 ? do_allocate(bytes) : nullptr;
    require(bytes == 0 || data != nullptr,
            "{}: could not allocate {:.1f} MiB ({:.1f} MiB are allocated already); use a smaller batch or length",
            name(), static_cast<double>(bytes) / (1 << 20), static_cast<double>(memory_.bytes) / (1 << 20));
    memory_.bytes += bytes;
    memory_.peak_bytes = std::max(memory_.peak_bytes, memory_.bytes);
    memory_.allocations += bytes > 0;
    return data;
}

void Backend::release(void* data, int64_t bytes) noexcept {
    if (!data) return;
    do_release(data, bytes);
    memory_.bytes -= bytes;
}

}  // namespace ggq
