#include "ggq/io/safetensors_layout.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "ggq/error.h"

namespace ggq {

namespace {

struct DTypeName {
    const char* name;
    DType dtype;
};

// In the order of the safetensors library, which writes the last of this list first.
constexpr std::array<DTypeName, 8> kDTypeNames = {{
    {"U8", DType::u8},
    {"I8", DType::i8},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"I32", DType::i32},
    {"F32", DType::f32},
    {"F64", DType::f64},
    {"I64", DType::i64},
}};

size_t rank_of(DType dtype) {
    const auto row = std::find_if(kDTypeNames.begin(), kDTypeNames.end(), [=](auto& r) { return r.dtype == dtype; });
    GGQ_ASSERT(row != kDTypeNames.end(), name(dtype));
    return static_cast<size_t>(row - kDTypeNames.begin());
}

}  // namespace

std::optional<DType> safetensors_dtype(std::string_view name) {
    for (const DTypeName& row : kDTypeNames)
        if (row.name == name) return row.dtype;
    return std::nullopt;
}

std::vector<NamedTensor> in_file_order(const FileTensors& tensors) {
    std::vector<NamedTensor> order;
    for (const auto& [tensor, t] : tensors) order.emplace_back(tensor, &t);
    std::stable_sort(order.begin(), order.end(), [](const NamedTensor& a, const NamedTensor& b) {
        return rank_of(a.second->dtype) > rank_of(b.second->dtype);
    });
    return order;
}

std::string safetensors_header(const std::vector<NamedTensor>& order, const FileMetadata& metadata) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header[kMetadataKey] = metadata;
    int64_t offset = 0;
    for (const auto& [tensor, t] : order) {
        const int64_t end = offset + t->n_bytes();
        auto& entry = header[std::string(tensor)];
        entry["dtype"] = kDTypeNames[rank_of(t->dtype)].name;
        entry["shape"] = std::vector<int64_t>(t->shape.dims, t->shape.dims + t->shape.rank);
        entry["data_offsets"] = {offset, end};
        offset = end;
    }
    std::string text = header.dump();
    text.resize((text.size() + kHeaderLengthBytes - 1) / kHeaderLengthBytes * kHeaderLengthBytes, ' ');
    return text;
}

}  // namespace ggq
