#include "models/text/regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr size_t kMostGroups = 100;  // one in another

// What stands for itself in PCRE2 as it does in Oniguruma, letters behind a backslash.
constexpr std::string_view kSameEscapes = "dDpPrntfaebBAzZRX";

struct Rewritten {
    std::string_view name;
    std::string_view members;  // of a class
};

constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

constexpr Rewritten kPosixClasses[] = {
    {"alpha", "\\p{Alphabetic}"},
    {"space", "\\p{White_Space}"},
    {"digit", "\\p{Nd}"},
    {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"},
    {"xdigit", "0-9A-Fa-f"},
    {"word", kWord},
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
};

class Translator {
public:
    explicit Translator(std::string_view from) : from_(from) {}

    std::string run() {
        while (at_ < from_.size()) one();
        return std::move(to_);
    }

private:
    [[noreturn]] void refuse(std::string_view what) const {
        fail("regular expression '{}': {} at byte {} is not supported", shown(from_), shown(what), at_);
    }

    bool follows(std::string_view text) const { return from_.substr(at_).starts_with(text); }

    void copy(size_t n_bytes) {
        to_ += from_.substr(at_, n_bytes);
        at_ += n_bytes;
    }

    void atom() { atom_ = to_.size(); }

    void one() {
        switch (from_[at_]) {
            case '\\': atom(); return escape(false);
            case '[': atom(); return char_class();
            case '(': return open();
            case ')': return close();
            case '{': return interval();
            case '?':
            case '*':
            case '+':
            case '|':
            case '^':
            case '$': return copy(1);
            default: atom(); return copy(character_length(at_));
        }
    }

    size_t character_length(size_t at) const { return static_cast<size_t>(std::max(utf8_length(from_[at]), 1)); }

    void open() {
        if (follows("(*")) refuse("a verb");
        require(groups_.size() < kMostGroups, "regular expression '{}': expected at most {} groups in one another",
                shown(from_), kMostGroups);
        groups_.push_back(to_.size());
        if (!follows("(?")) return copy(1);
        for (const std::string_view plain : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"})
            if (follows(plain)) return copy(plain.size());
        if (follows("(?<")) return named_group();
        flags();
    }

    // A name is of no use without references to it.
    void named_group() {
        const size_t end = from_.find('>', at_);
        if (end == std::string_view::npos) refuse("a group's name without an end");
        to_ += "(?:";
        at_ = end + 1;
    }

    // (?i) and (?i:...); m of Ruby is s of PCRE2. With x, white space and comments, a pattern could be read differently
    // here and there.
    void flags() {
        const size_t end = std::min(from_.find_first_not_of("im-", at_ + 2), from_.size() - 1);
        if (end == at_ + 2 || (from_[end] != ':' && from_[end] != ')')) refuse(from_.substr(at_, 3));
        std::string word(from_.substr(at_, end - at_));
        std::replace(word.begin(), word.end(), 'm', 's');
        to_ += word;
        at_ = end;
        if (from_[end] == ':') copy(1);
    }

    void close() {
        if (!groups_.empty()) {
            atom_ = groups_.back();
            groups_.pop_back();
        }
        copy(1);
    }

    // {n}, {n,}, {n,m}, {,m}; anything else is a brace. Behind them + and, behind {n}, ? are quantifiers of their own.
    void interval() {
        size_t end = at_ + 1;
        while (end < from_.size() && (std::isdigit(static_cast<unsigned char>(from_[end])) != 0 || from_[end] == ','))
            ++end;
        const std::string_view numbers = from_.substr(at_ + 1, end - at_ - 1);
        const auto commas = std::count(numbers.begin(), numbers.end(), ',');
        if (end == from_.size() || from_[end] != '}' || commas > 1 || numbers.empty() || numbers == ",") {
            atom();
            return copy(1);
        }
        to_ += '{' + std::string(numbers[0] == ',' ? "0" : "") + std::string(numbers) + '}';
        at_ = end + 1;
        if (!follows("+") && !(follows("?") && commas == 0)) return;
        to_.insert(atom_, "(?:");
        to_ += ')';
        copy(1);
    }

    void escape(bool in_class) {
        if (at_ + 1 == from_.size()) refuse("a lone backslash");
        const char letter = from_[at_ + 1];
        if (letter == 's' || letter == 'S') return replace(letter == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
        if (letter == 'w') return replace(members(kWord, in_class, false));
        if (letter == 'h') return replace(members("0-9A-Fa-f", in_class, false));
        if (!in_class && letter == 'W') return replace(members(kWord, false, true));
        if (!in_class && letter == 'H') return replace(members("0-9A-Fa-f", false, true));
        if (letter == 'v') return replace("\\x0b");
        if (letter == 'x' || letter == 'u') return code_point();
        const bool ascii_alnum = std::isalnum(static_cast<unsigned char>(letter)) != 0;
        const bool only_outside =
            letter == 'B' || letter == 'A' || letter == 'z' || letter == 'Z' || letter == 'R' || letter == 'X';
        if (ascii_alnum && (kSameEscapes.find(letter) == std::string_view::npos || (in_class && only_outside)))
            refuse(from_.substr(at_, 2));
        if (letter == 'p' || letter == 'P') return property();
        copy(1 + character_length(at_ + 1));
    }

    static std::string members(std::string_view list, bool in_class, bool negated) {
        if (in_class) return std::string(list);
        return (negated ? "[^" : "[") + std::string(list) + "]";
    }

    void replace(std::string_view by) {
        to_ += by;
        at_ += 2;
    }

    // \p{Name}, \p{^Name}; one letter without braces is not Oniguruma's.
    void property() {
        const size_t end = from_.find('}', at_);
        if (at_ + 2 >= from_.size() || from_[at_ + 2] != '{' || end == std::string_view::npos)
            refuse(from_.substr(at_, 2));
        copy(end + 1 - at_);
    }

    // \x{1F600}, \x41, \u0041
    void code_point() {
        const bool braces = from_.substr(at_ + 1, 2) == "x{";
        const size_t first = at_ + (braces ? 3 : 2);
        size_t end = first;
        const size_t most = braces ? 6 : from_[at_ + 1] == 'u' ? 4 : 2;
        while (end < from_.size() && end - first < most && std::isxdigit(static_cast<unsigned char>(from_[end])) != 0)
            ++end;
        const bool whole =
            braces ? end > first && from_.substr(end, 1) == "}" : end - first == most || (most == 2 && end > first);
        if (!whole) refuse(from_.substr(at_, 2));
        to_ += "\\x{" + std::string(from_.substr(first, end - first)) + '}';
        at_ = end + (braces ? 1 : 0);
    }

    void char_class() {
        copy(follows("[^") ? 2 : 1);
        if (follows("]")) {  // the first one is a member
            to_ += "\\]";
            ++at_;
        }
        while (at_ < from_.size() && from_[at_] != ']') {
            if (from_[at_] == '\\') escape(true);
            else if (follows("[:")) posix_class();
            else if (follows("[")) refuse("a class in a class");
            else if (follows("&&")) refuse("an intersection of classes");
            else copy(1);
        }
        if (at_ == from_.size()) refuse("a class without an end");
        copy(1);
    }

    void posix_class() {
        const size_t end = from_.find(":]", at_);
        const bool negated = from_.substr(at_ + 2, 1) == "^";
        const size_t begin = at_ + (negated ? 3 : 2);
        const std::string_view name =
            end == std::string_view::npos || end < begin ? "" : from_.substr(begin, end - begin);
        const auto* found = std::ranges::find(kPosixClasses, name, &Rewritten::name);
        if (found == std::end(kPosixClasses)) return copy(1);  // PCRE2 refuses what is none
        const bool single = found->members.starts_with("\\p") && found->members.find('\\', 1) == std::string_view::npos;
        if (negated && !single) refuse(from_.substr(at_, end + 2 - at_));
        to_ += negated ? "\\P" + std::string(found->members.substr(2)) : std::string(found->members);
        at_ = end + 2;
    }

    std::string_view from_;
    size_t at_ = 0;
    std::string to_;
    size_t atom_ = 0;             // where the last thing that can be repeated begins in to_
    std::vector<size_t> groups_;  // where the open groups begin in to_
};

}  // namespace

std::string pcre2_pattern(std::string_view ruby) { return Translator(ruby).run(); }

}  // namespace ggq
