// How a safetensors file is laid out: what its readers and its writers share.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ggq/io/safetensors.h"

namespace ggq {

inline constexpr const char* kMetadataKey = "__metadata__";
inline constexpr uint64_t kHeaderLengthBytes = 8;

std::optional<DType> safetensors_dtype(std::string_view name);

using NamedTensor = std::pair<std::string_view, const FileTensor*>;

// As the safetensors library orders them: wider types first, then by name.
std::vector<NamedTensor> in_file_order(const FileTensors& tensors);

// The header of tensors that lie one after the other, padded with spaces to 8 bytes.
std::string safetensors_header(const std::vector<NamedTensor>& order, const FileMetadata& metadata);

}  // namespace ggq
