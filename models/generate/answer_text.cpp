#include "models/generate/answer_text.h"

#include <algorithm>

namespace ggq {

std::string StopTexts::push(const std::string& text, bool& stopped) {
    held_ += text;
    size_t cut = std::string::npos;
    for (const std::string& stop : texts_) cut = std::min(cut, held_.find(stop));
    stopped = cut != std::string::npos;
    size_t n_shown = stopped ? cut : held_.size();
    for (const std::string& stop : texts_)
        for (size_t n = std::min(stop.size() - 1, held_.size()); !stopped && n > 0; --n)
            if (held_.ends_with(std::string_view(stop).substr(0, n))) n_shown = std::min(n_shown, held_.size() - n);
    std::string shown = held_.substr(0, n_shown);
    held_.erase(0, stopped ? std::string::npos : n_shown);
    return shown;
}

std::string StopTexts::flush() { return std::exchange(held_, {}); }

std::string AnswerText::finish() {
    if (stopped_) return {};
    std::string rest = stops_.push(decoder_.flush(), stopped_);
    if (!stopped_) rest += stops_.flush();
    return rest;
}

}  // namespace ggq
