// A tokenizer as Hugging Face stores it: tokenizer.json with a BPE or unigram model, and which tokens begin and end a
// text. Other forms of vocabularies (SentencePiece, tiktoken, GGUF) are told in the same terms first.
//
// Text -> added tokens cut out -> normalizer -> pre-tokenizer (words) -> model (ids) -> post-processor (BOS, EOS);
// ids -> bytes of each token -> UTF-8. Each stage is a class of its own beside this file. A component that is not
// known is refused by name when the file is loaded. A Tokenizer does not change once loaded: threads may share it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "ggq/io/utf8.h"
#include "models/text/added_tokens.h"
#include "models/text/bpe.h"
#include "models/text/decoder.h"
#include "models/text/normalizer.h"
#include "models/text/pre_tokenizer.h"
#include "models/text/unigram.h"

namespace ggq {

struct SpecialTokens;

struct EncodeOptions {
    bool add_special = true;    // what the post-processor adds: BOS, perhaps EOS
    bool parse_special = true;  // "<s>" in the text is that token; off: it is plain text
};

// A text that is to be continued, or ended by whoever asked: what the post-processor puts before it, and nothing
// behind.
struct OpenText {
    std::vector<Token> tokens;
    bool has_bos = false;   // the text began with the BOS that the tokenizer adds; it stands once
    int64_t n_dropped = 0;  // bytes of the text that no token stands for
};

class Tokenizer {
public:
    // From a model folder, or from a tokenizer.json or tokenizer.model itself (which of a folder's is said by
    // tokenizer_files.h); the files beside it name bos and eos.
    static Tokenizer load(const std::filesystem::path& path);
    // From what such files would say; `where` names the vocabulary in errors.
    static Tokenizer make(const nlohmann::json& tokenizer, const SpecialTokens& special, const std::string& where);

    std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
    // With the bytes of `text` that each token stands for; what the post-processor adds stands for none.
    std::vector<Token> encode_with_offsets(std::string_view text, EncodeOptions options = {}) const;
    OpenText encode_open(std::string_view text) const;
    // Always valid UTF-8; bytes that are no character become U+FFFD.
    std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

    int32_t vocab_size() const { return vocab_size_; }  // greatest id + 1
    std::optional<int32_t> bos_id() const { return bos_; }
    std::optional<int32_t> eos_id() const { return eos_; }
    std::optional<int32_t> id_of(std::string_view token) const;
    const std::string& token_of(int32_t id) const;  // as the file spells it
    bool is_special(int32_t id) const;
    // The model was taught to talk in the form of a template (which is not applied here).
    bool has_chat_template() const { return has_chat_template_; }

private:
    friend class StreamDecoder;
    class AddedList;  // while it is loaded
    struct Entry {
        std::string token;
        std::string bytes;
        bool special = false;
    };

    const Entry& entry(int32_t id) const;
    void load_parts(const nlohmann::json& json, AddedList& added);
    void load_model(const nlohmann::json& json);
    void load_unigram(const nlohmann::json& model);
    void load_post_processor(const nlohmann::json& json);
    void apply_model_config(const nlohmann::json& config);
    void apply_special_tokens(const SpecialTokens& tokens, AddedList& list);
    void add_ends(const SpecialTokens& tokens);
    AddedToken& add_token(AddedToken token, AddedList& list);
    void settle_added_tokens(AddedList list);
    void add_entry(const std::string& token, int32_t id);
    // They return how many bytes no token stands for. Errors of a valid text name the file.
    int64_t encode_valid(std::string_view text, bool parse_special, std::vector<Token>& tokens) const;
    int64_t encode_parts(std::string_view text, bool parse_special, std::vector<Token>& tokens) const;
    int64_t encode_words(AlignedText text, std::vector<Token>& tokens) const;

    std::string file_;  // the vocabulary's, for errors; empty: made in memory
    Normalizer normalizer_;
    PreTokenizer pre_tokenizer_;
    std::variant<Bpe, Unigram> model_;
    Decoder decoder_;
    AddedTokens added_raw_;         // looked for in the original text
    AddedTokens added_normalized_;  // looked for in the normalized text
    std::vector<int32_t> prefix_, suffix_;
    Vocabulary ids_;
    std::unordered_map<int32_t, Entry> tokens_;  // by id; not every id has one
    int32_t vocab_size_ = 0;
    bool has_chat_template_ = false;
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
