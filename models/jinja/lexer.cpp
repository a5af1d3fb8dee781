#include "models/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/text.h"

namespace ggq::jinja {

namespace {

constexpr std::array<std::string_view, 26> kOperators = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*",
                                                         "/",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool begins_name(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0; }
bool is_digit_of(char c) { return c >= '0' && c <= '9'; }

// Line ends as Jinja has them, and without the last one.
std::string normalized(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
        out.push_back(source[i] == '\r' ? '\n' : source[i]);
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

class Lexer {
public:
    Lexer(std::string_view source, const std::string& name) : source_(normalized(source)), name_(name) {}

    std::vector<LexToken> run() {
        while (at_ < source_.size()) data();
        push(TokenKind::end, "");
        return std::move(tokens_);
    }

private:
    std::string_view rest() const { return std::string_view(source_).substr(at_); }
    char ahead(size_t n) const { return at_ + n < source_.size() ? source_[at_ + n] : '\0'; }
    void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

    [[noreturn]] void refuse(const std::string& what) const { fail("{} line {}: {}", name_, line_, what); }

    void advance(size_t to) {
        line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                             source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
        line_starts_ = to > at_ ? source_[to - 1] == '\n' : line_starts_;
        at_ = to;
    }

    // Text up to the next tag, and the tag.
    void data() {
        const size_t begin = next_tag();
        if (begin == std::string::npos) return text_to(source_.size(), '\0', '\0');
        const char kind = source_[begin + 1];
        const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
        text_to(begin, kind, sign);
        advance(begin + (sign == '-' || (sign == '+' && kind != '{') ? 3 : 2));
        if (kind == '#') comment();
        else if (kind == '{') tag(TokenKind::print_begin, TokenKind::print_end, "}}");
        else if (!raw()) tag(TokenKind::block_begin, TokenKind::block_end, "%}");
    }

    char next_of(size_t at) const { return at + 1 < source_.size() ? source_[at + 1] : '\0'; }

    size_t next_tag() const {
        size_t at = source_.find('{', at_);
        while (at != std::string::npos && next_of(at) != '{' && next_of(at) != '%' && next_of(at) != '#')
            at = source_.find('{', at + 1);
        return at;
    }

    void text_to(size_t end, char kind, char sign) {
        std::string_view text = std::string_view(source_).substr(at_, end - at_);
        if (sign == '-') {
            while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
        } else if (sign != '+' && (kind == '%' || kind == '#')) {
            text = without_indent(text);
        }
        if (!text.empty()) push(TokenKind::text, std::string(text));
        advance(end);
    }

    // Without the blanks of the last line, if it has nothing else and begins here.
    std::string_view without_indent(std::string_view text) const {
        const size_t newline = text.rfind('\n');
        const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
        if (begin == 0 && !(line_starts_ || at_ == 0)) return text;
        return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), is_space)
                   ? text.substr(0, begin)
                   : text;
    }

    // Behind the end of a tag: `-` takes all white space, else a block's newline goes.
    void behind(char sign, bool trims) {
        size_t to = at_;
        if (sign == '-')
            while (to < source_.size() && is_space(source_[to])) ++to;
        else if (trims && sign != '+' && to < source_.size() && source_[to] == '\n') ++to;
        const bool ended_line = to > at_ && source_[to - 1] == '\n';
        advance(to);
        line_starts_ = ended_line;
    }

    void comment() {
        const size_t end = source_.find("#}", at_);
        if (end == std::string::npos) refuse("a comment is not closed");
        const char sign = end > at_ ? source_[end - 1] : '\0';
        advance(end + 2);
        behind(sign, true);
    }

    // {% raw %} ... {% endraw %}; true if it was one.
    bool raw() {
        const std::optional<size_t> body = behind_tag(at_, "raw");
        if (!body) return false;
        const char sign = source_[*body - 3];
        advance(*body);
        behind(sign, false);
        for (size_t end = source_.find("{%", at_); end != std::string::npos; end = source_.find("{%", end + 1)) {
            const char left = next_of(end + 1);
            const size_t inside = end + (left == '-' || left == '+' ? 3 : 2);
            const std::optional<size_t> after = behind_tag(inside, "endraw");
            if (!after) continue;
            text_to(end, '%', left);
            const char right = source_[*after - 3];
            advance(*after);
            behind(right, true);
            return true;
        }
        refuse("{% raw %} is not closed");
    }

    // Where a tag that holds `word` alone ends, if there is one whose inside begins at `at`.
    std::optional<size_t> behind_tag(size_t at, std::string_view word) const {
        const auto skip_space = [&] {
            while (at < source_.size() && is_space(source_[at])) ++at;
        };
        skip_space();
        if (!std::string_view(source_).substr(at).starts_with(word)) return std::nullopt;
        at += word.size();
        skip_space();
        if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
        if (!std::string_view(source_).substr(at).starts_with("%}")) return std::nullopt;
        return at + 2;
    }

    void tag(TokenKind begin, TokenKind end, std::string_view close) {
        push(begin, "");
        std::vector<char> open;
        while (at_ < source_.size()) {
            if (is_space(source_[at_])) {
                advance(at_ + 1);
                continue;
            }
            if (open.empty()) {
                const char sign = source_[at_] == '-' || (source_[at_] == '+' && close == "%}") ? source_[at_] : '\0';
                const size_t n = sign != '\0' ? 1 : 0;
                if (rest().substr(n).starts_with(close)) {
                    push(end, "");
                    advance(at_ + n + close.size());
                    return behind(sign, close == "%}");
                }
            }
            word(open);
        }
        refuse(fmt::format("a tag is not closed with {}", close));
    }

    void word(std::vector<char>& open) {
        const char c = source_[at_];
        if (c == '\'' || c == '"') return string(c);
        if (is_digit_of(c)) return number();
        if (begins_name(c)) return name();
        const auto* op = std::find_if(kOperators.begin(), kOperators.end(),
                                      [&](std::string_view o) { return rest().starts_with(o); });
        if (op == kOperators.end()) refuse(fmt::format("'{}' means nothing here", shown(std::string(1, c))));
        balance(open, c);
        push(TokenKind::op, std::string(*op));
        advance(at_ + op->size());
    }

    void balance(std::vector<char>& open, char c) const {
        constexpr std::string_view kOpening = "([{", kClosing = ")]}";
        if (kOpening.find(c) != std::string_view::npos) open.push_back(kClosing[kOpening.find(c)]);
        if (kClosing.find(c) == std::string_view::npos) return;
        if (open.empty() || open.back() != c) refuse(fmt::format("'{}' closes nothing", c));
        open.pop_back();
    }

    void name() {
        size_t end = at_;
        while (end < source_.size() && (begins_name(source_[end]) || is_digit_of(source_[end]))) ++end;
        push(TokenKind::name, source_.substr(at_, end - at_));
        advance(end);
    }

    void number() {
        size_t end = at_;
        const bool prefixed = source_[at_] == '0' &&
                              std::string_view("xXoObB").find(ahead(1)) != std::string_view::npos && ahead(1) != '\0';
        if (prefixed) end += 2;
        const auto digits = [&] {
            while (end < source_.size() && (is_digit_of(source_[end]) || source_[end] == '_' ||
                                            (prefixed && std::isxdigit(static_cast<unsigned char>(source_[end])))))
                ++end;
        };
        digits();
        bool real = false;
        if (!prefixed && end + 1 < source_.size() && source_[end] == '.' && is_digit_of(source_[end + 1])) {
            real = true;
            ++end;
            digits();
        }
        if (!prefixed && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
            size_t exponent = end + 1;
            if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
            if (exponent < source_.size() && is_digit_of(source_[exponent])) {
                real = true;
                end = exponent;
                digits();
            }
        }
        std::string text = source_.substr(at_, end - at_);
        std::erase(text, '_');
        push(real ? TokenKind::real : TokenKind::integer, std::move(text));
        advance(end);
    }

    void string(char quote) {
        size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
        if (end >= source_.size()) refuse("a string is not closed");
        push(TokenKind::string, meant(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
        advance(end + 1);
    }

    // Python's escapes; what is none stays as it is.
    std::string meant(std::string_view text) const {
        std::string out;
        for (size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '\\' || i + 1 == text.size()) {
                out.push_back(text[i]);
                continue;
            }
            constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeant = "\a\b\f\n\r\t\v\\'\"";
            const char c = text[++i];
            if (const size_t found = kLetters.find(c); found != std::string_view::npos) out.push_back(kMeant[found]);
            else if (c == 'x') i += code(text, i, 2, 16, out);
            else if (c == 'u') i += code(text, i, 4, 16, out);
            else if (c == 'U') i += code(text, i, 8, 16, out);
            else if (c >= '0' && c <= '7') i += octal(text, i, out);
            else if (c != '\n') (out += '\\') += c;
        }
        return out;
    }

    size_t code(std::string_view text, size_t at, size_t n, int base, std::string& out) const {
        uint32_t c = 0;
        const std::string_view digits = text.substr(at + 1, n);
        const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), c, base);
        if (read.ec != std::errc{} || read.ptr != digits.data() + n || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
            refuse(fmt::format("'\\{}' is no character", shown(std::string(text.substr(at, n + 1)))));
        out += to_utf8(std::u32string(1, c));
        return n;
    }

    static size_t octal(std::string_view text, size_t at, std::string& out) {
        char32_t c = 0;
        size_t n = 0;
        for (; n < 3 && at + n < text.size() && text[at + n] >= '0' && text[at + n] <= '7'; ++n)
            c = c * 8 + static_cast<char32_t>(text[at + n] - '0');
        out += to_utf8(std::u32string(1, c));
        return n - 1;
    }

    std::string source_;
    const std::string& name_;
    std::vector<LexToken> tokens_;
    size_t at_ = 0;
    int line_ = 1;
    bool line_starts_ = true;  // what was read last ended a line
};

}  // namespace

std::vector<LexToken> tokens_of(std::string_view source, const std::string& name) { return Lexer(source, name).run(); }

}  // namespace ggq::jinja
