// What can be seen of a record by itself: its words before they are tokens, its turns, and what its template makes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/lint/lint.h"
#include "models/text/chat_template.h"
#include "models/text/record_tokens.h"

namespace ggq {

// The words that a record brings itself, without its template's.
std::vector<std::string> words_of(const Record& record);

// Of an answer that carries loss and says nothing, which one.
std::optional<std::string> empty_answer(const Record& record);

// Where roles do not follow each other as in a conversation: "message 3 is of user, and so is the one before".
std::optional<std::string> wrong_turn(const Conversation& conversation);

// What looks like a special token of some model and is none of this tokenizer: "<|im_end|>", "[INST]".
std::vector<std::string> unknown_specials(const std::string& text, const Tokenizer& tokenizer);

// Special tokens that words become.
std::vector<std::string> specials_in(const std::string& words, const Tokenizer& tokenizer);

// Whether a generation's prompt is how the text begins that is trained on, of the last answer; else what differs.
std::optional<std::string> prompt_mismatch(const Conversation& conversation, const ChatTemplate& chat);

// Two end tokens side by side: which.
std::optional<std::string> double_end(const Sample& sample, const Tokenizer& tokenizer);

}  // namespace ggq
