// A tokenizer as Hugging Face stores it: tokenizer.json with a BPE model, and which tokens begin and end a text.
//
// Text -> added tokens cut out -> normalizer -> pre-tokenizer (words) -> BPE (ids) -> post-processor (BOS, EOS);
// ids -> bytes of each token -> UTF-8. Each stage is a class of its own beside this file. A component that is not
// known is refused by name when the file is loaded. A Tokenizer does not change once loaded: threads may share it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/io/utf8.h"
#include "models/text/added_tokens.h"
#include "models/text/bpe.h"
#include "models/text/decoder.h"
#include "models/text/normalizer.h"
#include "models/text/pre_tokenizer.h"

namespace ggq {

struct EncodeOptions {
    bool add_special = true;    // what the post-processor adds: BOS, perhaps EOS
    bool parse_special = true;  // "<s>" in the text is that token; off: it is plain text
};

class Tokenizer {
public:
    // From a model folder, or from a tokenizer.json itself; the files beside it name bos and eos.
    static Tokenizer load(const std::filesystem::path& path);

    std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
    // With the bytes of `text` that each token stands for; what the post-processor adds stands for none.
    std::vector<Token> encode_with_offsets(std::string_view text, EncodeOptions options = {}) const;
    // Always valid UTF-8; bytes that are no character become U+FFFD.
    std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

    int32_t vocab_size() const { return static_cast<int32_t>(tokens_.size()); }  // greatest id + 1
    std::optional<int32_t> bos_id() const { return bos_; }
    std::optional<int32_t> eos_id() const { return eos_; }
    std::optional<int32_t> id_of(std::string_view token) const;
    const std::string& token_of(int32_t id) const;  // as the file spells it
    bool is_special(int32_t id) const;

private:
    friend class StreamDecoder;
    struct Entry {
        std::string token;
        std::string bytes;
        bool special = false;
    };

    const Entry& entry(int32_t id) const;
    void load_model(const nlohmann::json& json);
    void load_added_tokens(const nlohmann::json& json);
    void load_post_processor(const nlohmann::json& json);
    void load_config(const std::filesystem::path& folder);
    void apply_config(const nlohmann::json& config, const std::string& name);
    void apply_model_config(const nlohmann::json& config);
    void add_ends(const nlohmann::json& config);
    void add_token(AddedToken token);
    void add_entry(const std::string& token, int32_t id);
    void encode_words(AlignedText text, std::vector<Token>& tokens) const;

    Normalizer normalizer_;
    PreTokenizer pre_tokenizer_;
    Bpe bpe_;
    Decoder decoder_;
    AddedTokens added_raw_;         // looked for in the original text
    AddedTokens added_normalized_;  // looked for in the normalized text
    std::vector<int32_t> prefix_, suffix_;
    Vocabulary ids_;
    std::vector<Entry> tokens_;  // by id; an id that no token has is an empty entry
    std::optional<int32_t> bos_, eos_;
};

// Tokens in, text out, as they are generated: what is given out is whole characters, and together with flush() it is
// what decode() gives. With `mid_text` the tokens continue a text, so no space is cut from their front.
// The tokenizer must outlive it.
class StreamDecoder {
public:
    explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true, bool mid_text = false);
    std::string push(int32_t id);
    std::string flush();

private:
    std::string cut_front(std::string text);

    const Tokenizer* tokenizer_;
    bool skip_special_;
    int front_left_;
    Utf8Stream utf8_;
};

}  // namespace ggq
