// Which file of a model folder is its tokenizer, and what it says in the terms of a tokenizer.json.
//
// tokenizer.json where it is there; else tokenizer.model, which is a SentencePiece model or tiktoken's ranks, told
// apart by how it begins: with a field of pieces (a byte 10), or with base64.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "models/text/special_tokens.h"

namespace ggq {

// Of a folder that file; any other path is itself. Throws Error where a folder has none.
std::filesystem::path tokenizer_file(const std::filesystem::path& path);

// Names in `special` what begins and ends a text, where no file beside it did and this one does.
nlohmann::json read_tokenizer_file(const std::filesystem::path& file, SpecialTokens& special);

}  // namespace ggq
