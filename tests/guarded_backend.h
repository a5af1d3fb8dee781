// A backend around another that catches what a kernel does to memory: outputs and workspace are poisoned before a
// step (all bits set: NaN), and whatever else is allocated must be the same after it, guard bytes around blocks
// included. Of long stretches only the ends are looked at: an idle workspace is a thousand times what a case needs.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "ggq/backend.h"

namespace ggq::test {

class GuardedBackend final : public Backend {
public:
    explicit GuardedBackend(int n_threads = 1, int64_t most_bytes = INT64_MAX)
        : GuardedBackend(make_cpu_backend(n_threads), most_bytes) {}
    explicit GuardedBackend(std::unique_ptr<Backend> inner, int64_t most_bytes = INT64_MAX)
        : inner_(std::move(inner)), most_bytes_(most_bytes) {}

    const char* name() const override { return "guarded"; }
    std::string description() const override { return inner_->description(); }
    DType compute_dtype() const override { return inner_->compute_dtype(); }
    void check_supported(const OpCall& call) const override { inner_->check_supported(call); }
    int64_t workspace_bytes(const OpCall& call) const override { return inner_->workspace_bytes(call); }
    void synchronize() override { inner_->synchronize(); }
    void copy_in(void* device, const void* host, int64_t bytes) override { inner_->copy_in(device, host, bytes); }
    void copy_out(void* host, const void* device, int64_t bytes) override { inner_->copy_out(host, device, bytes); }
    void set_bytes(void* device, std::byte value, int64_t bytes) override { inner_->set_bytes(device, value, bytes); }
    bool reads_host_memory() const override { return inner_->reads_host_memory(); }
    int64_t free_bytes() const override { return std::min(inner_->free_bytes(), most_bytes_ - memory().bytes); }

    void run(const OpDef& op, const KernelArgs& args) override {
        const std::vector<std::span<std::byte>> writable = places_written(args);
        for (size_t i = 0; i < writable.size(); ++i)
            if (i >= args.out.size() || !written_in_place(args, i)) poison(writable[i]);
        const std::vector<std::byte> before = all_but(writable);
        inner_->run(op, args);
        inner_->synchronize();
        INFO("op: ", std::string(op.name));
        CHECK_MESSAGE(all_but(writable) == before, "wrote outside its outputs");
    }

private:
    static constexpr int64_t kGuard = 256, kEnd = 128 << 10;

    void poison(std::span<std::byte> place) {
        inner_->set_bytes(place.data(), std::byte{0xFF}, static_cast<int64_t>(place.size()));
    }

    // What stands in the blocks outside of `places`.
    std::vector<std::byte> all_but(std::vector<std::span<std::byte>> places) const {
        std::ranges::sort(places, {}, [](std::span<std::byte> p) { return p.data(); });
        std::vector<std::byte> bytes;
        const auto fetch_all = [&](const std::byte* from, int64_t n) {
            bytes.resize(bytes.size() + static_cast<size_t>(n));
            inner_->copy_out(bytes.data() + bytes.size() - n, from, n);
        };
        const auto fetch = [&](const std::byte* from, const std::byte* end) {
            if (from >= end) return;
            if (end - from <= 2 * kEnd) return fetch_all(from, end - from);
            fetch_all(from, kEnd);
            fetch_all(end - kEnd, kEnd);
        };
        for (const auto& [data, size] : blocks_) {
            const std::byte *at = data, *const end = data + size;
            for (std::span<std::byte> p : places) {
                if (p.data() < data || p.data() >= end) continue;
                fetch(at, p.data());
                at = std::max<const std::byte*>(at, p.data() + p.size());
            }
            fetch(at, end);
        }
        return bytes;
    }

    static bool written_in_place(const KernelArgs& args, size_t i) {
        return i < args.in.size() && args.in[i].data == args.out[i].data;
    }

    static std::vector<std::span<std::byte>> places_written(const KernelArgs& args) {
        std::vector<std::span<std::byte>> places;
        for (const View& v : args.out) {
            const int64_t bytes = info(v.dtype).quantized
                                      ? storage_bytes(v.dtype, v.shape, {v.quant.block, v.quant.nested != nullptr})
                                      : storage_bytes(v.dtype, v.shape, {});
            places.emplace_back(v.as<std::byte>(), static_cast<size_t>(bytes));
        }
        places.push_back(args.workspace);
        return places;
    }

    void* do_allocate(int64_t bytes) override {
        if (memory().bytes + bytes > most_bytes_) return nullptr;
        const int64_t rounded = (bytes + kGuard - 1) / kGuard * kGuard;
        auto* block = static_cast<std::byte*>(inner_->allocate(rounded + 2 * kGuard));
        poison({block, static_cast<size_t>(rounded + 2 * kGuard)});
        blocks_[block] = rounded + 2 * kGuard;
        return block + kGuard;
    }

    void do_release(void* data, int64_t bytes) noexcept override {
        const int64_t rounded = (bytes + kGuard - 1) / kGuard * kGuard;
        auto* block = static_cast<std::byte*>(data) - kGuard;
        blocks_.erase(block);
        inner_->release(block, rounded + 2 * kGuard);
    }

    std::unique_ptr<Backend> inner_;
    int64_t most_bytes_;
    std::map<std::byte*, int64_t> blocks_;  // bytes of each, guards included
};

}  // namespace ggq::test
