#include "ggq/backend.h"

#include <algorithm>

#include "ggq/error.h"

namespace ggq {

std::unique_ptr<Recording> Backend::record(const std::function<void()>&) { return nullptr; }

int64_t Backend::overhead_bytes() const { return 0; }

int64_t Backend::overhead_bytes_with(int64_t, int64_t) const { return overhead_bytes(); }

void Backend::copy(Lane lane, void* to, const void* from, int64_t bytes) {
    if (lane == Lane::in) copy_in(to, from, bytes);
    else copy_out(to, from, bytes);
}

void Backend::migrate(Lane, void*, int64_t) { GGQ_ASSERT(false, std::string(name()) + " migrates nothing"); }

int64_t Backend::free_host_bytes() const { return free_bytes(); }

namespace {

double mebibytes(int64_t n_bytes) { return static_cast<double>(n_bytes) / (1 << 20); }

void count(MemoryCount& memory, int64_t bytes) {
    memory.bytes += bytes;
    memory.peak_bytes = std::max(memory.peak_bytes, memory.bytes);
    memory.allocations += bytes > 0;
}

}  // namespace

void* Backend::allocate(int64_t bytes) {
    void* data = bytes > 0 ? do_allocate(bytes) : nullptr;
    require(bytes == 0 || data != nullptr,
            "{}: could not allocate {:.1f} MiB ({:.1f} MiB are allocated already); use a smaller batch or length",
            name(), mebibytes(bytes), mebibytes(memory_.bytes));
    count(memory_, bytes);
    return data;
}

void Backend::release(void* data, int64_t bytes) noexcept {
    if (!data) return;
    do_release(data, bytes);
    memory_.bytes -= bytes;
}

void* Backend::allocate_host(int64_t bytes) {
    void* data = bytes > 0 ? do_allocate_host(bytes) : nullptr;
    require(bytes == 0 || data != nullptr,
            "{}: could not allocate {:.1f} MiB of host memory for pages ({:.1f} MiB are allocated already); end other "
            "programs or raise the limit of the container, or let less be paged; of unified memory no more is taken "
            "than the device has free, `pager` explicit takes none",
            name(), mebibytes(bytes), mebibytes(host_memory_.bytes));
    count(host_memory_, bytes);
    return data;
}

void Backend::release_host(void* data, int64_t bytes) noexcept {
    if (!data) return;
    do_release_host(data, bytes);
    host_memory_.bytes -= bytes;
}

}  // namespace ggq
