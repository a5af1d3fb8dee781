#include "ggq/transfer.h"

#include <algorithm>
#include <memory>
#include <span>

#include "ggq/backend.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq {

namespace {

constexpr int64_t kPieceBytes = 4 << 20;

// Memory of a backend for as long as a transfer takes; of no bytes, nothing. `on_host`: that of the host which its
// kernels read.
class Scratch {
public:
    Scratch(Backend& backend, int64_t bytes, bool on_host = false)
        : backend_(backend), on_host_(on_host), bytes_(bytes), data_(bytes > 0 ? take() : nullptr) {}
    ~Scratch() {
        if (!data_) return;
        if (on_host_) backend_.release_host(data_, bytes_);
        else backend_.release(data_, bytes_);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    void* data() const { return data_; }
    bool on_host() const { return on_host_; }

private:
    void* take() { return on_host_ ? backend_.allocate_host(bytes_) : backend_.allocate(bytes_); }

    Backend& backend_;
    bool on_host_;
    int64_t bytes_;
    void* data_;
};

// Runs one op outside of any program.
void run_once(Backend& backend, const OpDef& op, const View& out, const TensorType& out_type, const View& in,
              const TensorType& in_type, const ParamBlock& params) {
    const OpCall call{op, {&in_type, 1}, {&out_type, 1}, params, ""};
    const int64_t n_bytes = backend.workspace_bytes(call);
    const Scratch workspace(backend, n_bytes);
    const std::span<std::byte> span(static_cast<std::byte*>(workspace.data()), static_cast<size_t>(n_bytes));
    backend.run(op, {{&out, 1}, {&in, 1}, &params, span});
    backend.synchronize();
}

// An exponent of all ones is infinity or NaN.
template <typename Bits>
bool exponents_finite(const void* host, int64_t n_elems, Bits exponent) {
    const Bits* bits = static_cast<const Bits*>(host);
    bool finite = true;
    for (int64_t i = 0; i < n_elems; ++i) finite &= (bits[i] & exponent) != exponent;
    return finite;
}

// `in` lies where the backend's kernels read it.
void convert(Backend& backend, const View& in, const TensorType& in_type, const View& out, const TensorType& type) {
    const bool quantizes = info(type.dtype).quantized;
    const ParamBlock params =
        quantizes ? ParamBlock(QuantizeParams{type.dtype, type.quant}) : ParamBlock(CastParams{type.dtype});
    run_once(backend, quantizes ? quantize_op : cast_op, out, type, in, in_type, params);
}

void convert(Store& store, const Buffer& to, DType from, const void* data) {
    const TensorType type{from, to.type.shape, {}};
    convert(store.backend(), make_view(const_cast<void*>(data), from, type.shape), type, to.view(), to.type);
}

using Piece = std::function<void(int64_t at, std::span<const std::byte> bytes)>;
using Bytes = std::unique_ptr<std::byte[]>;

Bytes host_bytes(int64_t n_bytes) { return std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(n_bytes)); }

void in_pieces(int64_t n_bytes, const ReadPart& read, const Piece& take) {
    const Bytes memory = host_bytes(std::min(n_bytes, kPieceBytes));
    for (int64_t at = 0; at < n_bytes; at += kPieceBytes) {
        const std::span bytes(memory.get(), static_cast<size_t>(std::min(kPieceBytes, n_bytes - at)));
        read(static_cast<uint64_t>(at), bytes);
        take(at, bytes);
    }
}

// To the buffer's bytes from `begin` on.
void write_as_it_is(Store& store, const Buffer& to, int64_t begin, int64_t n_bytes, const ReadPart& read) {
    in_pieces(n_bytes, read, [&](int64_t at, std::span<const std::byte> bytes) {
        store.write_part(to, begin + at, bytes.data(), std::ssize(bytes));
    });
}

// A piece is a row of elements, whatever the shape of the tensor.
void write_cast(Store& store, const Buffer& to, DType from, int64_t n_bytes, const ReadPart& read) {
    Backend& backend = store.backend();
    const Scratch staged(backend, backend.reads_host_memory() ? 0 : std::min(n_bytes, kPieceBytes));
    in_pieces(n_bytes, read, [&](int64_t at, std::span<const std::byte> bytes) {
        if (staged.data()) backend.copy_in(staged.data(), bytes.data(), std::ssize(bytes));
        void* in = staged.data() ? staged.data() : const_cast<std::byte*>(bytes.data());
        void* out = static_cast<std::byte*>(to.data) + at / info(from).bytes * info(to.type.dtype).bytes;
        const Shape shape{std::ssize(bytes) / info(from).bytes};
        convert(backend, make_view(in, from, shape), {from, shape, {}}, make_view(out, to.type.dtype, shape),
                {to.type.dtype, shape, {}});
    });
}

void write_quantized(Store& store, const Buffer& to, DType from, int64_t n_bytes, const ReadPart& read) {
    Backend& backend = store.backend();
    if (backend.reads_host_memory()) {
        const Bytes whole = host_bytes(n_bytes);
        read(0, {whole.get(), static_cast<size_t>(n_bytes)});
        return convert(store, to, from, whole.get());
    }
    const int64_t n_bytes_of_scales = n_bytes / 16;  // at most, before they are quantized
    const Scratch staged(backend, n_bytes, n_bytes + n_bytes_of_scales > backend.free_bytes());
    auto* data = static_cast<std::byte*>(staged.data());
    if (staged.on_host()) read(0, {data, static_cast<size_t>(n_bytes)});
    else
        in_pieces(n_bytes, read, [&](int64_t at, std::span<const std::byte> bytes) {
            backend.copy_in(data + at, bytes.data(), std::ssize(bytes));
        });
    convert(store, to, from, data);
}

}  // namespace

void write_converted(Store& store, const Buffer& to, DType from, const void* host) {
    if (from == to.type.dtype) return store.write(to, host);
    Backend& backend = store.backend();
    const int64_t n_bytes = TensorType{from, to.type.shape, {}}.bytes();
    const Scratch staged(backend, backend.reads_host_memory() ? 0 : n_bytes);
    if (staged.data()) backend.copy_in(staged.data(), host, n_bytes);
    convert(store, to, from, staged.data() ? staged.data() : host);
}

void write_streamed(Store& store, const Buffer& to, DType from, const ReadPart& read) {
    const int64_t n_bytes = TensorType{from, to.type.shape, {}}.bytes();
    if (from == to.type.dtype) return write_as_it_is(store, to, 0, n_bytes, read);
    if (info(to.type.dtype).quantized) return write_quantized(store, to, from, n_bytes, read);
    write_cast(store, to, from, n_bytes, read);
}

void write_parts(Store& store, const Buffer& to, const QuantizedParts& from) {
    const TensorType& type = to.type;
    const QuantLayout at = quant_layout(type.dtype, type.shape, type.quant);
    const bool is_nested = at.n_nested > 0;
    write_as_it_is(store, to, 0, at.codes_bytes, from.codes);
    write_as_it_is(store, to, at.scales_at, at.n_scales * (is_nested ? 1 : 4), from.scales);
    if (!is_nested) return;
    write_as_it_is(store, to, at.nested_at, 4 * at.n_nested, from.nested);
    store.write_part(to, at.offset_at, &from.offset, sizeof from.offset);
}

void read_converted(const Store& store, const Buffer& from, DType to, void* host) {
    if (to == from.type.dtype) return store.read(from, host);
    Backend& backend = store.backend();
    const TensorType type{to, from.type.shape, {}};
    const Scratch staged(backend, backend.reads_host_memory() ? 0 : type.bytes());
    const OpDef& op = info(from.type.dtype).quantized ? dequantize_op : cast_op;
    const View out = make_view(staged.data() ? staged.data() : host, to, type.shape);
    run_once(backend, op, out, type, from.view(), from.type, CastParams{to});
    if (staged.data()) backend.copy_out(host, staged.data(), type.bytes());
}

std::vector<float> read_f32(const Store& store, const Buffer& from) {
    std::vector<float> values(static_cast<size_t>(from.type.shape.n_elems()));
    read_converted(store, from, DType::f32, values.data());
    return values;
}

bool all_finite(DType dtype, const void* host, int64_t n_elems) {
    switch (dtype) {
        case DType::f32: return exponents_finite<uint32_t>(host, n_elems, 0x7f800000u);
        case DType::f64: return exponents_finite<uint64_t>(host, n_elems, 0x7ff0000000000000u);
        case DType::f16: return exponents_finite<uint16_t>(host, n_elems, 0x7c00u);
        case DType::bf16: return exponents_finite<uint16_t>(host, n_elems, 0x7f80u);
        default: return true;
    }
}

}  // namespace ggq
