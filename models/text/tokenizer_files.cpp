#include "models/text/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/input_file.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "models/text/sentencepiece.h"
#include "models/text/tiktoken.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = uint64_t{256} << 20;

std::string read_vocabulary(const fs::path& file) {
    require(is_there(file), "{}: no such file", file.string());
    refuse_link_out(file);
    const InputFile input(file);
    require(input.n_bytes() <= kMostBytes, "{}: expected a vocabulary of at most {} bytes, got {}", file.string(),
            kMostBytes, input.n_bytes());
    std::string content = input.read_all();
    refuse_lfs_pointer(content, file.string());
    return content;
}

void name_ends(const std::string& bos, const std::string& eos, SpecialTokens& special) {
    if (special.bos.empty()) special.bos = bos;
    if (special.eos.empty()) special.eos = eos;
    if (!special.add_bos) special.add_bos = true;  // as every model of these forms was trained
}

nlohmann::json sentencepiece_json(std::string_view content, const std::string& where, SpecialTokens& special) {
    PieceVocabulary vocabulary = parse_sentencepiece(content, where);
    vocabulary.prefix_every_part = special.legacy;
    vocabulary.add_dummy_prefix = special.add_prefix_space.value_or(vocabulary.add_dummy_prefix);
    name_ends(vocabulary.text_of(vocabulary.bos), vocabulary.text_of(vocabulary.eos), special);
    return tokenizer_json(vocabulary);
}

}  // namespace

fs::path tokenizer_file(const fs::path& path) {
    if (!is_folder(path)) return path;
    for (const char* name : {kTokenizerJson, kTokenizerModel})
        if (is_there(path / name)) return path / name;
    fail("{}: no such file, nor {}; a model folder needs its tokenizer", (path / kTokenizerJson).string(),
         kTokenizerModel);
}

nlohmann::json read_tokenizer_file(const fs::path& file, SpecialTokens& special) {
    const std::string where = file.string();
    if (file.extension() != ".model") return parse_json(read_side_file(file), where);
    const std::string content = read_vocabulary(file);
    if (content.starts_with('\n')) return sentencepiece_json(content, where, special);
    const bool names_none = special.added.empty();
    nlohmann::json tokenizer = parse_tiktoken(content, where, names_none);
    if (!tokenizer["added_tokens"].empty() || !names_none) name_ends(kLlama3Bos, kLlama3Eos, special);
    return tokenizer;
}

}  // namespace ggq
