// The text of an answer while its tokens come: whole characters, up to a stop text.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/text/tokenizer.h"

namespace ggq {

// Holds text back for as long as it may be the beginning of a stop text.
class StopTexts {
public:
    explicit StopTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {}

    // What can be shown after `text` has come; `stopped` becomes true when a stop text is complete.
    std::string push(const std::string& text, bool& stopped);
    std::string flush();  // what was held back, at the end

private:
    std::vector<std::string> texts_;
    std::string held_;
};

// The tokenizer must outlive it.
class AnswerText {
public:
    AnswerText(const Tokenizer& tokenizer, const std::vector<std::string>& stop)
        : decoder_(tokenizer, true, true), stops_(stop) {}

    std::string push(int32_t token) { return stops_.push(decoder_.push(token), stopped_); }  // what can be shown now
    std::string finish();                      // what is left when no more tokens come
    bool stopped() const { return stopped_; }  // by a stop text

private:
    StreamDecoder decoder_;
    StopTexts stops_;
    bool stopped_ = false;
};

}  // namespace ggq
