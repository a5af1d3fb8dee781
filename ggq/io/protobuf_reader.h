// The fields of a Protocol Buffers message, one after the other, without a schema: numbers, and bytes that may be a
// text or a message of their own. Every length is compared with what is left.
// Source: protobuf.dev/programming-guides/encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ggq {

struct ProtobufField {
    enum class Kind : uint8_t { number, fixed64, bytes, fixed32 };

    uint32_t id = 0;
    Kind kind = Kind::number;
    uint64_t value = 0;      // of numbers and fixed ones
    std::string_view bytes;  // of the message

    // The value as the type that a schema gives it; each refuses a field of another kind.
    bool as_flag() const;
    int32_t as_int32() const;
    float as_float() const;
    std::string_view as_bytes() const;

    std::string_view where;
};

class ProtobufReader {
public:
    // Both must outlive the fields. `where` names the message in errors.
    ProtobufReader(std::string_view message, std::string_view where) : left_(message), where_(where) {}

    // Nothing at the end. Groups, which no file of today has, are refused.
    std::optional<ProtobufField> next();

private:
    uint64_t varint();
    uint64_t fixed(size_t n_bytes);
    std::string_view take(uint64_t n_bytes);

    std::string_view left_;
    std::string_view where_;
};

}  // namespace ggq
