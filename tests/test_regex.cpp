// Regular expressions of tokenizer files: read as Oniguruma reads them, refused where they could loop, call or leave
// the text, and bounded in what they take.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "ggq/error.h"
#include "models/text/pre_tokenizer.h"
#include "models/text/regex.h"
#include "models/text/regex_syntax.h"
#include "tests/small_tokenizers.h"

using ggq::Regex;
using ggq::test::append_utf8;
using nlohmann::json;

namespace {

std::vector<std::string> found(const std::string& pattern, const std::string& text) {
    std::vector<std::string> parts;
    for (const ggq::TextRange& match : Regex(pattern).find_all(text))
        parts.push_back(text.substr(match.begin, match.end - match.begin));
    return parts;
}

std::vector<std::string> words(const std::string& pattern, const std::string& text,
                               const std::string& behavior = "Isolated", bool invert = false) {
    const json split = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", invert}};
    const ggq::SplitText result = ggq::PreTokenizer(split).split(ggq::AlignedText(text, {0, text.size()}));
    std::vector<std::string> parts;
    for (const auto& range : result.ranges) parts.emplace_back(result.text.part(range));
    return parts;
}

using Words = std::vector<std::string>;

std::string error_of(const std::string& pattern, const std::string& text = "a") {
    try {
        Regex(pattern).find_all(text);
    } catch (const ggq::Error& error) {
        return error.what();
    }
    return "no error";
}

bool matches(const Regex& regex, char32_t code) {
    std::string text;
    append_utf8(text, code);
    return !regex.find_all(text).empty();
}

}  // namespace

// The code points that \s matches in tokenizers 0.23, all of them tried: Unicode's White_Space. U+180E, U+200B and
// U+FEFF are none, and U+180E is one to PCRE2.
TEST_CASE("regex: white space is what the tokenizers library takes for it") {
    const Regex inside("\\s"), outside("\\S"), in_class("[\\s]"), not_in_class("[^\\S]"), posix("[[:space:]]");
    for (char32_t code = 0; code < 0x10000; ++code) {
        if (code >= 0xD800 && code < 0xE000) continue;
        const bool space = (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
                           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
                           code == 0x202F || code == 0x205F || code == 0x3000;
        CAPTURE(static_cast<uint32_t>(code));
        for (const Regex* regex : {&inside, &in_class, &not_in_class, &posix}) REQUIRE(matches(*regex, code) == space);
        REQUIRE(matches(outside, code) == !space);
    }
    // Llama 3's expression: the vowel separator is no white space, so it goes with the word's front.
    CHECK(words("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\s+(?!\\S)|\\s+", "a\u180Eb") == Words{"a", "\u180Eb"});
    CHECK(words(" ?[^\\s\\p{L}\\p{N}]+|\\s+", "\u180E \u0085\u200B") == Words{"\u180E", " \u0085", "\u200B"});
}

TEST_CASE("regex: Ruby's syntax where PCRE2 has another") {
    CHECK(words("\\p{N}{1,3}", "12345") == Words{"123", "45"});
    CHECK(words("\\p{N}{1,3}+", "12345") == Words{"12345"});  // a quantifier of the whole
    CHECK(words("(?:ab){2}?", "abababab") == Words{"abab", "abab"});
    CHECK(words("\\p{N}++", "12345a") == Words{"12345", "a"});
    CHECK(words("a{,2}", "aaa") == Words{"aa", "a"});
    CHECK(found("é{1,2}+", "éééa").at(0) == "ééé");
    CHECK(words("\\h+", "xCafez") == Words{"x", "Cafe", "z"});
    CHECK(found("(?m:a.b)", "a\nb") == Words{"a\nb"});
    CHECK(found("a.b", "a\nb").empty());
    CHECK(found("^b$", "a\nb\nc") == Words{"b"});
    CHECK(found("\\w+", "e\u0301t\u203Fs-\u200D") == Words{"e\u0301t\u203Fs"});
    CHECK(found("[\\w-]+", "a-b c").at(0) == "a-b");
    CHECK(found("\\W+", "a-\u0301b") == Words{"-"});
    CHECK(found("\\u0061\\x62\\x{63}[\\x64]", "abcd") == Words{"abcd"});
    CHECK(found("(?<name>a)|[[:alpha:]]|[[:^alpha:]]", "a1") == Words{"a", "1"});
    CHECK(found("[]a]+", "]a").at(0) == "]a");
    CHECK(found("(?i:'s|'t)", "it'S") == Words{"'S"});
    CHECK(found("(?i)K", "k") == Words{"k"});
    CHECK(found("x{a}", "x{a}") == Words{"x{a}"});
    CHECK(found("\\v", "\n\x0b") == Words{"\x0b"});
}

// What tokenizers 0.23 gives for the same patterns.
TEST_CASE("regex: matches of nothing cut, and the search goes on") {
    CHECK(words("(?=b)", "abab") == Words{"a", "ba", "b"});
    CHECK(words("b*", "abbab") == Words{"a", "bb", "a", "b"});
    CHECK(words("b*", "abbab", "Removed") == Words{"a", "a"});
    CHECK(words("b*", "abbab", "Removed", true) == Words{"bb", "b"});
    CHECK(words("b*", "abbab", "MergedWithPrevious") == Words{"abb", "ab"});
    CHECK(words("b*", "abbab", "MergedWithPrevious", true) == Words{"a", "bba", "b"});
    CHECK(words("b*", "abbab", "MergedWithNext") == Words{"a", "bba", "b"});
    CHECK(words("b*", "abbab", "MergedWithNext", true) == Words{"abb", "ab"});
    CHECK(words("b*", "abbab", "Contiguous") == Words{"a", "bb", "a", "b"});
    CHECK(words("(?=b)", "abab", "Removed", true).empty());
    CHECK(Regex("").find_all("").empty());
    CHECK(Regex("").find_all("a漢").size() == 3);
}

TEST_CASE("regex: what could loop, call, jump or leave the text is refused") {
    for (const char* pattern :
         {"\\C",         "a\\Cb",     "[\\C]",   "\\K",    "(?=a\\K)", "a\\Kb",  "\\G",     "(*FAIL)",      "(*UTF8)a",
          "(*NO_JIT)a",  "(*ACCEPT)", "(?C)",    "(?C1)a", "(?R)",     "(?0)",   "(?1)",    "(a)(?1)",      "(?&n)",
          "(?P<n>a)",    "(?P>n)",    "\\g<n>",  "\\g{1}", "\\k<n>",   "(a)\\1", "(?(1)a)", "(?(DEFINE)a)", "(?|a|b)",
          "(?#x)",       "(?{a})",    "(?x: a)", "(?^:a)", "\\Qa\\E",  "\\N",    "\\O",     "[a&&b]",       "[a[b]]",
          "[[:^word:]]", "[\\W]",     "\\p",     "\\pL",   "\\",       "a\\",    "[",       "[a",           "(?<n",
          "(?-",         "(?",        "(?i",     "\\x",    "\\x{",     "\\u12",  "[\\R]"}) {
        CAPTURE(pattern);
        CHECK(error_of(pattern).find("regular expression '") == 0);
    }
    CHECK(error_of("\\C") == "regular expression '\\C': \\C at byte 0 is not supported");
    std::string nested;
    for (int i = 0; i < 200; ++i) nested = "(" + nested + ")";
    CHECK(error_of(nested).find("expected at most 100 groups in one another") != std::string::npos);
    CHECK(error_of(std::string(20000, 'a')).ends_with("expected at most 16384 bytes, got 20000"));
}

TEST_CASE("regex: one that takes too many steps is ended with an error") {
    const std::string text = std::string(64, 'a') + "!";
    CHECK(error_of("(a+)+$", text).find("failed at byte 0 of a text of 65 bytes: ") != std::string::npos);
    CHECK(error_of("(?:a|aa)+$", text).find("failed at byte 0") != std::string::npos);
    CHECK(error_of("(?:\\p{L}|b)+", std::string(1'000'000, 'a')) == "no error");
}
