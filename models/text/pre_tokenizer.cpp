#include "models/text/pre_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/utf8.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Keep { isolated, removed, with_previous, with_next, contiguous };

struct Cut {
    TextRange range;
    bool matched;
};

// A word as alternating parts that match and that do not; together they cover it. A match of nothing is a cut too.
std::vector<Cut> cut_word(std::string_view word, const Regex& pattern, bool invert) {
    std::vector<Cut> cuts;
    size_t at = 0;
    for (const TextRange& match : pattern.find_all(word)) {
        if (match.begin > at) cuts.push_back({{at, match.begin}, invert});
        cuts.push_back({match, !invert});
        at = match.end;
    }
    if (at < word.size()) cuts.push_back({{at, word.size()}, invert});
    return cuts;
}

// Whether `cut` is glued to the part before it in reading direction; `before` says whether that part matched.
bool glued(Keep keep, bool matched, bool before) {
    if (keep == Keep::contiguous) return matched == before;
    return matched && !before;
}

std::vector<TextRange> join_cuts(std::vector<Cut> cuts, Keep keep) {
    const bool backwards = keep == Keep::with_next;
    if (backwards) std::reverse(cuts.begin(), cuts.end());
    const bool joins = keep != Keep::isolated && keep != Keep::removed;
    std::vector<TextRange> ranges;
    bool before = false;
    for (const Cut& cut : cuts) {
        if (keep == Keep::removed && cut.matched) continue;
        if (joins && !ranges.empty() && glued(keep, cut.matched, before)) {
            (backwards ? ranges.back().begin : ranges.back().end) = backwards ? cut.range.begin : cut.range.end;
        } else {
            ranges.push_back(cut.range);
        }
        before = cut.matched;
    }
    if (backwards) std::reverse(ranges.begin(), ranges.end());
    return ranges;
}

void split_words(SplitText& words, const Regex& pattern, Keep keep, bool invert) {
    std::vector<TextRange> ranges;
    for (const TextRange& word : words.ranges) {
        for (const TextRange& part : join_cuts(cut_word(words.text.part(word), pattern, invert), keep)) {
            if (part.begin < part.end) ranges.push_back({word.begin + part.begin, word.begin + part.end});
        }
    }
    words.ranges = std::move(ranges);
}

Keep parse_keep(const std::string& behavior) {
    if (behavior == "Isolated") return Keep::isolated;
    if (behavior == "Removed") return Keep::removed;
    if (behavior == "MergedWithPrevious") return Keep::with_previous;
    if (behavior == "MergedWithNext") return Keep::with_next;
    if (behavior == "Contiguous") return Keep::contiguous;
    fail("pre_tokenizer Split: behavior {} is not known", shown(behavior));
}

// Puts `content` before each word that does not begin with it and for which `wanted` holds.
template <typename Wanted>
void prefix_words(SplitText& words, std::string_view content, const Wanted& wanted) {
    SplitText result;
    for (const TextRange& word : words.ranges) {
        const size_t begin = result.text.size();
        const size_t origin = words.text.origin(word.begin);
        if (wanted(origin) && !words.text.part(word).starts_with(content)) result.text.insert_at_end(content, origin);
        result.text.append(words.text, word);
        result.ranges.push_back({begin, result.text.size()});
    }
    words = std::move(result);
}

void replace_spaces(SplitText& words, const Regex& space, std::string_view content) {
    SplitText result;
    for (const TextRange& word : words.ranges) {
        auto matches = space.find_all(words.text.part(word));
        for (TextRange& match : matches) match = {word.begin + match.begin, word.begin + match.end};
        const size_t begin = result.text.size();
        const AlignedText replaced = words.text.replaced(word, matches, content);
        result.text.append(replaced, {0, replaced.size()});
        result.ranges.push_back({begin, result.text.size()});
    }
    words = std::move(result);
}

std::function<void(SplitText&)> split_step(const Regex& pattern, Keep keep, bool invert = false) {
    return [=](SplitText& words) { split_words(words, pattern, keep, invert); };
}

std::function<void(SplitText&)> byte_level_step(const nlohmann::json& json) {
    const JsonFields fields(json, "pre_tokenizer ByteLevel");
    const bool prefix = fields.flag_or("add_prefix_space", true);
    const bool use_regex = fields.flag_or("use_regex", true);
    const Regex pattern(kGpt2Words);
    return [=](SplitText& words) {
        if (prefix) prefix_words(words, " ", [](size_t) { return true; });
        if (use_regex) split_words(words, pattern, Keep::isolated, false);
    };
}

std::function<void(SplitText&)> metaspace_step(const nlohmann::json& json) {
    const std::string mark = metaspace_mark(json, "pre_tokenizer Metaspace");
    const JsonFields fields(json, "pre_tokenizer Metaspace");
    const std::string old_scheme = fields.flag_or("add_prefix_space", true) ? "always" : "never";
    const std::string scheme = fields.text_or("prepend_scheme", old_scheme);
    require(scheme == "always" || scheme == "first" || scheme == "never",
            "pre_tokenizer Metaspace: expected prepend_scheme always, first or never, got {}", shown(scheme));
    const bool split = fields.flag_or("split", true);
    const Regex space(" "), mark_pattern(Regex::quote(mark));
    return [=](SplitText& words) {
        replace_spaces(words, space, mark);
        const bool first_only = scheme == "first";
        if (scheme != "never") {
            prefix_words(words, mark, [first_only](size_t origin) { return !first_only || origin == 0; });
        }
        if (split) split_words(words, mark_pattern, Keep::with_next, false);
    };
}

std::function<void(SplitText&)> step_of(const nlohmann::json& part, const std::string& type) {
    if (type == "Split") {
        return split_step(component_pattern(part, "pre_tokenizer Split"),
                          parse_keep(JsonFields(part, "pre_tokenizer Split").text_or("behavior", "")),
                          JsonFields(part, "pre_tokenizer Split").flag_or("invert", false));
    }
    if (type == "ByteLevel") return byte_level_step(part);
    if (type == "Metaspace") return metaspace_step(part);
    if (type == "Digits") {
        const bool single = JsonFields(part, "pre_tokenizer Digits").flag_or("individual_digits", false);
        return split_step(Regex(single ? R"(\p{N})" : R"(\p{N}+)"), Keep::isolated);
    }
    if (type == "Whitespace") return split_step(Regex(R"(\w+|[^\w\s]+)"), Keep::removed, true);
    if (type == "WhitespaceSplit") return split_step(Regex(R"(\s+)"), Keep::removed);
    refuse_type("pre_tokenizer", type, "Split, ByteLevel, Metaspace, Digits, Whitespace, WhitespaceSplit and Sequence");
}

}  // namespace

PreTokenizer::PreTokenizer(const nlohmann::json& json) {
    for (const nlohmann::json* part : component_parts(json, "pre_tokenizer", "pretokenizers")) {
        const std::string type = component_type(*part, "pre_tokenizer");
        require(!byte_level_, "pre_tokenizer: ByteLevel must be the last of a Sequence, got {} after it", type);
        steps_.push_back(step_of(*part, type));
        byte_level_ = type == "ByteLevel";
    }
}

SplitText PreTokenizer::split(AlignedText text) const {
    const TextRange whole{0, text.size()};
    SplitText words{std::move(text), {whole}};
    for (const Step& step : steps_) step(words);
    return words;
}

}  // namespace ggq
