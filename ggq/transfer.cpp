#include "ggq/transfer.h"

#include <span>

#include "ggq/backend.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq {

namespace {

// Memory of a backend for as long as a transfer takes; of no bytes, nothing.
class Scratch {
public:
    Scratch(Backend& backend, int64_t bytes)
        : backend_(backend), data_(bytes > 0 ? backend.allocate(bytes) : nullptr), bytes_(bytes) {}
    ~Scratch() {
        if (data_) backend_.release(data_, bytes_);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    void* data() const { return data_; }

private:
    Backend& backend_;
    void* data_;
    int64_t bytes_;
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

}  // namespace

void write_converted(Store& store, const Buffer& to, DType from, const void* host) {
    if (from == to.type.dtype) return store.write(to, host);
    Backend& backend = store.backend();
    const TensorType source{from, to.type.shape, {}};
    const Scratch staged(backend, backend.reads_host_memory() ? 0 : source.bytes());
    if (staged.data()) backend.copy_in(staged.data(), host, source.bytes());
    const View in = make_view(staged.data() ? staged.data() : const_cast<void*>(host), from, source.shape);
    const bool quantizes = info(to.type.dtype).quantized;
    const ParamBlock params =
        quantizes ? ParamBlock(QuantizeParams{to.type.dtype, to.type.quant}) : ParamBlock(CastParams{to.type.dtype});
    run_once(backend, quantizes ? quantize_op : cast_op, to.view(), to.type, in, source, params);
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
