#include "ggq/io/protobuf_reader.h"

#include <bit>

#include "ggq/error.h"

namespace ggq {

namespace {

void check_kind(const ProtobufField& field, ProtobufField::Kind expected) {
    require(field.kind == expected, "{}: field {} has wire type {}, expected {}", field.where, field.id,
            static_cast<int>(field.kind), static_cast<int>(expected));
}

std::optional<ProtobufField::Kind> kind_of(uint64_t wire_type) {
    switch (wire_type) {
        case 0: return ProtobufField::Kind::number;
        case 1: return ProtobufField::Kind::fixed64;
        case 2: return ProtobufField::Kind::bytes;
        case 5: return ProtobufField::Kind::fixed32;
        default: return std::nullopt;
    }
}

}  // namespace

bool ProtobufField::as_flag() const {
    check_kind(*this, Kind::number);
    return value != 0;
}

// Negative ones are in 64 bits.
int32_t ProtobufField::as_int32() const {
    check_kind(*this, Kind::number);
    return static_cast<int32_t>(static_cast<uint32_t>(value));
}

float ProtobufField::as_float() const {
    check_kind(*this, Kind::fixed32);
    return std::bit_cast<float>(static_cast<uint32_t>(value));
}

std::string_view ProtobufField::as_bytes() const {
    check_kind(*this, Kind::bytes);
    return bytes;
}

std::optional<ProtobufField> ProtobufReader::next() {
    if (left_.empty()) return std::nullopt;
    const uint64_t tag = varint();
    const uint64_t id = tag >> 3;
    const auto kind = kind_of(tag & 7);
    require(id > 0 && id < 1U << 29 && kind, "{}: broken Protocol Buffers message: no field has the tag {}", where_,
            tag);
    ProtobufField field{.id = static_cast<uint32_t>(id), .kind = *kind, .value = 0, .bytes = {}, .where = where_};
    switch (*kind) {
        case ProtobufField::Kind::number: field.value = varint(); break;
        case ProtobufField::Kind::fixed64: field.value = fixed(8); break;
        case ProtobufField::Kind::bytes: field.bytes = take(varint()); break;
        case ProtobufField::Kind::fixed32: field.value = fixed(4); break;
    }
    return field;
}

uint64_t ProtobufReader::varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const auto byte = static_cast<unsigned char>(take(1)[0]);
        value |= uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80) return value;
    }
    fail("{}: broken Protocol Buffers message: a number of more than 10 bytes", where_);
}

uint64_t ProtobufReader::fixed(size_t n_bytes) {
    const std::string_view bytes = take(n_bytes);
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
    return value;
}

std::string_view ProtobufReader::take(uint64_t n_bytes) {
    require(n_bytes <= left_.size(), "{}: broken Protocol Buffers message: {} bytes expected, {} are left", where_,
            n_bytes, left_.size());
    const std::string_view taken = left_.substr(0, n_bytes);
    left_.remove_prefix(n_bytes);
    return taken;
}

}  // namespace ggq
