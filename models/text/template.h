// From a record to the text that is trained on, and which part of it is the answer.
//
// `alpaca` is Stanford Alpaca's wording, with and without an input; `alpaca-short` is the same without the sentence in
// front, as guides to QLoRA have it. The end token is not part of the text: it is put after the tokens (dataset.cpp).
// The answer is given in bytes, so that the loss mask never looks at token values.
#pragma once

#include <string>

#include "models/text/records.h"
#include "models/text/regex.h"

namespace ggq {

struct RenderedText {
    std::string text;
    TextRange answer;  // what carries loss when the prompt does not
};

RenderedText render(const Record& record);

// What stands before the answer; also how an instruction is put to the trained model. The form is one of the two.
std::string alpaca_prompt(const std::string& instruction, const std::string& input = {}, Form form = Form::alpaca);

}  // namespace ggq
