// Persistent memory: everything that outlives a run of a program (weights, parameters, optimizer state, inputs).
//
// A Store is declared first, so that graphs can be built and planned over it, and allocated later, when the plan is
// known to fit. Each kind is one allocation; a Buffer is a place in it, or a slice of another buffer, which is how
// adapter masters, gradients and optimizer state form flat ranges.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "ggq/tensor.h"

namespace ggq {

class Backend;

// Where the bytes of a buffer have their home.
enum class Residence : uint8_t {
    device,
    mapped,  // in host memory that kernels reach by its address: for what is read or written little, like the
             // embedding's rows
    paged    // in host memory, and on the device around its uses, as plans say
};

struct Buffer {
    std::string name;
    Kind kind = Kind::constant;
    TensorType type;
    void* data = nullptr;            // set by Store::allocate: on the device, or of the host where that is its home
    const Buffer* parent = nullptr;  // what it is a slice of
    int64_t first = 0;               // element of the parent that it starts at
    Residence residence = Residence::device;  // of a slice: its root's
    bool pageable = false;                    // whether it may be paged where memory is short

    int64_t bytes() const { return type.bytes(); }
    View view() const { return make_view(data, type.dtype, type.shape, type.quant); }

    const Buffer& root() const { return parent ? *parent : *this; }
    bool on_host() const { return root().residence != Residence::device; }
    bool overlaps(const Buffer& other) const {
        return &root() == &other.root() && first < other.first + other.type.shape.n_elems() &&
               other.first < first + type.shape.n_elems();
    }
};

class Store {
public:
    explicit Store(Backend& backend);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    Backend& backend() const { return *backend_; }

    // References stay valid for the life of the store.
    Buffer& declare(std::string name, Kind kind, const TensorType& type);

    // `n_elems` of shape starting at element `first` of a parent that is not quantized and not itself a slice.
    Buffer& slice(Buffer& parent, std::string name, int64_t first, const Shape& shape);

    // Before allocate(), of a buffer that is no slice.
    void set_residence(Buffer& buffer, Residence residence);

    // Allocates all that was declared since the last call, zeroed but for constants that live on the host.
    void allocate();

    // Of what is declared, alignment included: on the device, and all together on the host.
    int64_t bytes(Kind kind) const;
    int64_t bytes() const;
    int64_t host_bytes() const;

    // Buffers that own their place, in the order of their declaration.
    const std::vector<Buffer*>& declared() const { return declared_; }

    void zero(Kind kind);  // every buffer of a kind, once allocated

    void write(const Buffer& buffer, const void* host);
    // `n_bytes` of what it stores, from its byte `at` on.
    void write_part(const Buffer& buffer, int64_t at, const void* host, int64_t n_bytes);
    void read(const Buffer& buffer, void* host) const { read_part(buffer, 0, host, buffer.bytes()); }
    void read_part(const Buffer& buffer, int64_t at, void* host, int64_t n_bytes) const;

private:
    struct Block {
        Kind kind;
        bool on_host;
        void* data;
        int64_t bytes;
    };

    void allocate(Kind kind, bool on_host);
    void zero(const Block& block);

    Backend* backend_;
    std::deque<Buffer> buffers_;
    std::vector<Buffer*> declared_;  // those that own a place, in order
    std::vector<Buffer*> slices_;
    std::vector<Block> blocks_;
};

// Copies one scalar or a small array between host and a buffer.
template <typename T>
void write_scalar(Store& store, const Buffer& buffer, T value) {
    store.write(buffer, &value);
}

template <typename T>
T read_scalar(const Store& store, const Buffer& buffer) {
    T value;
    store.read(buffer, &value);
    return value;
}

}  // namespace ggq
