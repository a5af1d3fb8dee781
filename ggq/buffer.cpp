#include "ggq/buffer.h"

#include <cstring>

#include "ggq/backend.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

constexpr int64_t kAlignment = 256;
constexpr Kind kPersistent[] = {Kind::input, Kind::constant, Kind::parameter, Kind::state};

int64_t place_bytes(const Buffer& b) { return round_up(b.bytes(), kAlignment); }

}  // namespace

Store::Store(Backend& backend) : backend_(&backend) {}

Store::~Store() {
    for (const Block& b : blocks_)
        if (b.on_host) backend_->release_host(b.data, b.bytes);
        else backend_->release(b.data, b.bytes);
}

Buffer& Store::declare(std::string name, Kind kind, const TensorType& type) {
    buffers_.push_back({.name = std::move(name), .kind = kind, .type = type});
    declared_.push_back(&buffers_.back());
    return buffers_.back();
}

Buffer& Store::slice(Buffer& parent, std::string name, int64_t first, const Shape& shape) {
    GGQ_ASSERT(!info(parent.type.dtype).quantized && first + shape.n_elems() <= parent.type.shape.n_elems(), name);
    GGQ_ASSERT(!parent.parent, parent.name + " is a slice itself");
    buffers_.push_back({.name = std::move(name),
                        .kind = parent.kind,
                        .type = {parent.type.dtype, shape, {}},
                        .parent = &parent,
                        .first = first});
    slices_.push_back(&buffers_.back());
    return buffers_.back();
}

void Store::set_residence(Buffer& buffer, Residence residence) {
    GGQ_ASSERT(!buffer.parent && !buffer.data, buffer.name);
    buffer.residence = residence;
}

void Store::allocate() {
    for (Kind kind : kPersistent)
        for (bool on_host : {false, true}) allocate(kind, on_host);
    for (Buffer* s : slices_) s->data = static_cast<std::byte*>(s->parent->data) + s->first * info(s->type.dtype).bytes;
}

void Store::allocate(Kind kind, bool on_host) {
    int64_t total = 0;
    const auto wanted = [&](const Buffer& b) { return b.kind == kind && b.on_host() == on_host && !b.data; };
    for (const Buffer* b : declared_)
        if (wanted(*b)) total += place_bytes(*b);
    if (total == 0) return;
    auto* next = static_cast<std::byte*>(on_host ? backend_->allocate_host(total) : backend_->allocate(total));
    blocks_.push_back({kind, on_host, next, total});
    if (!on_host || kind != Kind::constant) zero(blocks_.back());  // tens of GB of weights will be written anyway
    for (Buffer* b : declared_) {
        if (!wanted(*b)) continue;
        b->data = next;
        next += place_bytes(*b);
    }
}

int64_t Store::bytes(Kind kind) const {
    int64_t total = 0;
    for (const Buffer* b : declared_)
        if (b->kind == kind && !b->on_host()) total += place_bytes(*b);
    return total;
}

int64_t Store::host_bytes() const {
    int64_t total = 0;
    for (const Buffer* b : declared_)
        if (b->on_host()) total += place_bytes(*b);
    return total;
}

int64_t Store::bytes() const {
    int64_t total = 0;
    for (Kind kind : kPersistent) total += bytes(kind);
    return total;
}

void Store::zero(Kind kind) {
    for (const Block& b : blocks_)
        if (b.kind == kind) zero(b);
}

void Store::zero(const Block& block) {
    if (block.on_host) std::memset(block.data, 0, static_cast<size_t>(block.bytes));
    else backend_->zero(block.data, block.bytes);
}

void Store::write(const Buffer& buffer, const void* host) { write_part(buffer, 0, host, buffer.bytes()); }

void Store::write_part(const Buffer& buffer, int64_t at, const void* host, int64_t n_bytes) {
    auto* to = static_cast<std::byte*>(buffer.data) + at;
    if (buffer.on_host() && n_bytes > 0) std::memcpy(to, host, static_cast<size_t>(n_bytes));
    else backend_->copy_in(to, host, n_bytes);
}

void Store::read_part(const Buffer& buffer, int64_t at, void* host, int64_t n_bytes) const {
    const auto* from = static_cast<const std::byte*>(buffer.data) + at;
    if (buffer.on_host() && n_bytes > 0) std::memcpy(host, from, static_cast<size_t>(n_bytes));
    else backend_->copy_out(host, from, n_bytes);
}

}  // namespace ggq
