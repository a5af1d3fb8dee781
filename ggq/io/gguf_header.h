// Reading and checking what stands before the tensors' bytes of a GGUF file.
#pragma once

#include <string_view>

#include "ggq/io/gguf.h"
#include "ggq/io/gguf_cursor.h"

namespace ggq {

inline constexpr std::string_view kGgufMagic = "GGUF";

// `to.where` names the file in errors.
void read_gguf_header(GgufCursor& cursor, Gguf& to);

}  // namespace ggq
