// Tokens that are found in a text before it is cut into words: special tokens and others that were added by name.
//
// Of several that match, the leftmost counts, then the longest. A token may take the white space around it (lstrip,
// rstrip), may ask to stand alone as a word, and is looked for in the original or in the normalized text.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/text/prefix_rows.h"
#include "models/text/regex.h"

namespace ggq {

struct AddedToken {
    int32_t id = -1;
    std::string content;
    bool special = false;
    bool normalized = false;
    bool single_word = false;
    bool left_strip = false;
    bool right_strip = false;
};

// {"content", "special", "normalized", "single_word", "lstrip", "rstrip"}, with "id" in a tokenizer.json.
AddedToken added_token_from_json(const nlohmann::json& json);

class AddedTokens {
public:
    // A part of the text: one token (id), or plain text (id -1).
    struct Part {
        TextRange range;
        int32_t id;
    };

    AddedTokens() = default;
    // Of two with one content the first counts; one without content is never found.
    explicit AddedTokens(std::vector<AddedToken> tokens);

    // The parts cover `text`; with `parse_special` off special tokens are plain text.
    std::vector<Part> split(std::string_view text, bool parse_special) const;

private:
    const AddedToken* match_at(std::string_view text, size_t at) const;
    TextRange widened(std::string_view text, TextRange range, const AddedToken& token, size_t floor) const;

    PrefixRows<AddedToken, &AddedToken::content> tokens_;
};

}  // namespace ggq
