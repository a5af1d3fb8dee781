#include "ggq/buffer.h"

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
    for (const Block& b : blocks_) backend_->release(b.data, b.bytes);
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

void Store::allocate() {
    for (Kind kind : kPersistent) {
        int64_t total = 0;
        for (const Buffer* b : declared_)
            if (b->kind == kind && !b->data) total += place_bytes(*b);
        if (total == 0) continue;
        auto* next = static_cast<std::byte*>(backend_->allocate(total));
        blocks_.push_back({kind, next, total});
        backend_->zero(next, total);
        for (Buffer* b : declared_) {
            if (b->kind != kind || b->data) continue;
            b->data = next;
            next += place_bytes(*b);
        }
    }
    for (Buffer* s : slices_) s->data = static_cast<std::byte*>(s->parent->data) + s->first * info(s->type.dtype).bytes;
}

int64_t Store::bytes(Kind kind) const {
    int64_t total = 0;
    for (const Buffer* b : declared_)
        if (b->kind == kind) total += place_bytes(*b);
    return total;
}

int64_t Store::bytes() const {
    int64_t total = 0;
    for (Kind kind : kPersistent) total += bytes(kind);
    return total;
}

void Store::zero(Kind kind) {
    for (const Block& b : blocks_)
        if (b.kind == kind) backend_->zero(b.data, b.bytes);
}

void Store::write(const Buffer& buffer, const void* host) { backend_->copy_in(buffer.data, host, buffer.bytes()); }

void Store::read(const Buffer& buffer, void* host) const { backend_->copy_out(host, buffer.data, buffer.bytes()); }

}  // namespace ggq
