// Methods of a str.
#include <algorithm>
#include <array>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/format.h"
#include "models/jinja/methods.h"

namespace ggq::jinja {

namespace {

const std::string& text_argument(const Arguments& given, size_t at, std::string_view method) {
    const Value* value = given.find(at, "");
    require(value != nullptr && value->text() != nullptr, "{}() needs a str", method);
    return value->text()->str();
}

template <bool left, bool right>
Value strip_method(const Value& self, const Arguments& given) {
    if (given.positional.empty() || given.positional[0].is_none()) return strip(*self.text(), left, right);
    const std::u32string characters = to_characters(text_argument(given, 0, "strip"));
    return strip(*self.text(), left, right, &characters);
}

template <std::string (*f)(std::string_view)>
Value changed(const Value& self, const Arguments&) {
    return self.text()->made_into(f(self.text()->view()));
}

// One str, or any of a tuple of them.
template <bool at_start>
Value begins(const Value& self, const Arguments& given) {
    require(given.positional.size() == 1, "{}() takes one argument", at_start ? "startswith" : "endswith");
    const Value& wanted = given.positional[0];
    const std::vector<Value> all = wanted.list() != nullptr ? wanted.list()->items : std::vector<Value>{wanted};
    return std::any_of(all.begin(), all.end(), [&](const Value& one) {
        require(one.text() != nullptr, "{}() needs a str, got {}", at_start ? "startswith" : "endswith", one.type());
        const std::string_view text = self.text()->view(), part = one.text()->view();
        return at_start ? text.starts_with(part) : text.ends_with(part);
    });
}

Value without_prefix(const Value& self, const Arguments& given) {
    const std::string& prefix = text_argument(given, 0, "removeprefix");
    const Text& text = *self.text();
    return text.view().starts_with(prefix) ? text.part(prefix.size(), text.size()) : text;
}

Value without_suffix(const Value& self, const Arguments& given) {
    const std::string& suffix = text_argument(given, 0, "removesuffix");
    const Text& text = *self.text();
    return text.view().ends_with(suffix) ? text.part(0, text.size() - suffix.size()) : text;
}

int64_t most_splits(const Arguments& given) {
    const Value* most = given.find(1, "maxsplit");
    return most == nullptr ? -1 : most->integer();
}

Value split_at_spaces(const Text& text, int64_t most) {
    std::vector<Value> parts;
    Text rest = strip(text, true, false);
    while (!rest.empty()) {
        size_t end = 0;
        while (end < rest.size() && !is_python_space(utf8_code_point(rest.view(), end)))
            end += static_cast<size_t>(utf8_length(rest.view()[end]));
        if (most >= 0 && std::ssize(parts) == most) end = rest.size();
        parts.emplace_back(rest.part(0, end));
        rest = strip(rest.part(end, rest.size()), true, false);
    }
    return Value::list(std::move(parts));
}

Value split(const Value& self, const Arguments& given) {
    const Text& text = *self.text();
    const Value* by = given.find(0, "sep");
    const int64_t most = most_splits(given);
    if (by == nullptr || by->is_none()) return split_at_spaces(text, most);
    require(by->text() != nullptr && !by->text()->empty(), "split() needs a separator that is not empty");
    const std::string& separator = by->text()->str();
    std::vector<Value> parts;
    size_t begin = 0;
    for (size_t at = text.view().find(separator);
         at != std::string_view::npos && (most < 0 || std::ssize(parts) < most);
         at = text.view().find(separator, begin)) {
        parts.emplace_back(text.part(begin, at));
        begin = at + separator.size();
    }
    parts.emplace_back(text.part(begin, text.size()));
    return Value::list(std::move(parts));
}

Value split_from_right(const Value& self, const Arguments& given) {
    const Text& text = *self.text();
    const Value* by = given.find(0, "sep");
    const int64_t most = most_splits(given);
    if (most < 0) return split(self, given);
    require(by != nullptr && by->text() != nullptr && !by->text()->empty(), "rsplit() with a number needs a separator");
    const std::string& separator = by->text()->str();
    std::vector<Value> parts;
    size_t end = text.size();
    while (std::ssize(parts) < most && end >= separator.size()) {
        const size_t at = text.view().substr(0, end).rfind(separator);
        if (at == std::string_view::npos) break;
        parts.emplace_back(text.part(at + separator.size(), end));
        end = at;
    }
    parts.emplace_back(text.part(0, end));
    std::reverse(parts.begin(), parts.end());
    return Value::list(std::move(parts));
}

Value split_lines(const Value& self, const Arguments& given) {
    const Text& text = *self.text();
    const Value* keep = given.find(0, "keepends");
    std::vector<Value> lines;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.view().find_first_of("\n\r", begin), text.size());
        size_t next = std::min(end + 1, text.size());
        if (next < text.size() && text.view()[end] == '\r' && text.view()[next] == '\n') ++next;
        lines.emplace_back(text.part(begin, keep != nullptr && keep->truth() ? next : end));
        begin = next;
    }
    return Value::list(std::move(lines));
}

Value partition(const Value& self, const Arguments& given) {
    const Text& text = *self.text();
    const std::string& by = text_argument(given, 0, "partition");
    require(!by.empty(), "partition() needs a separator that is not empty");
    const size_t at = text.view().find(by);
    if (at == std::string_view::npos) return Value::list({text, "", ""}, true);
    return Value::list({text.part(0, at), text.part(at, at + by.size()), text.part(at + by.size(), text.size())}, true);
}

Value replace(const Value& self, const Arguments& given) {
    const Value* count = given.find(2, "count");
    const Text& text = *self.text();
    return text.made_into(replaced(text.view(), text_argument(given, 0, "replace"), text_argument(given, 1, "replace"),
                                   count == nullptr ? -1 : static_cast<long>(count->integer())));
}

template <bool from_right>
Value find_in(const Value& self, const Arguments& given) {
    const std::string_view text = self.text()->view();
    const std::string& part = text_argument(given, 0, "find");
    const size_t at = from_right ? text.rfind(part) : text.find(part);
    return at == std::string_view::npos ? int64_t{-1} : static_cast<int64_t>(character_count(text.substr(0, at)));
}

Value index_in_text(const Value& self, const Arguments& given) {
    Value at = find_in<false>(self, given);
    require(at.integer() >= 0, "index(): the str is not in it");
    return at;
}

Value count_in_text(const Value& self, const Arguments& given) {
    const std::string& part = text_argument(given, 0, "count");
    if (part.empty()) return static_cast<int64_t>(character_count(self.text()->view()) + 1);
    int64_t n = 0;
    for (size_t at = self.text()->view().find(part); at != std::string_view::npos;
         at = self.text()->view().find(part, at + part.size()))
        ++n;
    return n;
}

Value join(const Value& self, const Arguments& given) {
    require(given.positional.size() == 1, "join() takes what to join");
    Text out;
    bool first = true;
    for (const Value& item : given.positional[0].elements()) {
        require(item.text() != nullptr, "join() of a value of type {}", item.type());
        if (!first) out.append(*self.text());
        first = false;
        out.append(*item.text());
    }
    return out;
}

// True if there is a character and `test` holds for all of them.
template <bool (*test)(char32_t)>
Value every(const Value& self, const Arguments&) {
    const std::u32string all = to_characters(self.text()->view());
    return !all.empty() && std::all_of(all.begin(), all.end(), test);
}

bool alphabetic_or_digit(char32_t c) { return is_alphabetic(c) || is_digit(c); }

// At least one letter that has two cases, and all of them in the one wanted.
template <char32_t (*wanted)(char32_t)>
Value in_case(const Value& self, const Arguments&) {
    bool any = false;
    for (const char32_t c : to_characters(self.text()->view())) {
        if (to_upper(c) == to_lower(c)) continue;
        if (wanted(c) != c) return false;
        any = true;
    }
    return any;
}

Value format(const Value& self, const Arguments& given) { return brace_formatted(*self.text(), given); }

enum class Side { left, right, both };

template <Side side>
Value justified(const Value& self, const Arguments& given) {
    require(!given.positional.empty() && given.positional[0].integer() < 100'000, "a width of 0 to 99999 is needed");
    const std::string fill = given.positional.size() > 1 ? text_argument(given, 1, "ljust") : " ";
    const auto width = static_cast<size_t>(std::max<int64_t>(0, given.positional[0].integer()));
    const size_t n = character_count(self.text()->view()), more = width > n ? width - n : 0;
    const size_t before = side == Side::left ? 0 : side == Side::right ? more : more / 2 + (more & width & 1U);
    Text out;
    for (size_t i = 0; i < before; ++i) out.append(fill);
    out.append(*self.text());
    for (size_t i = before; i < more; ++i) out.append(fill);
    return out;
}

Value zero_filled(const Value& self, const Arguments& given) {
    require(!given.positional.empty() && given.positional[0].integer() < 100'000, "a width of 0 to 99999 is needed");
    const std::string_view text = self.text()->view();
    const auto width = static_cast<size_t>(std::max<int64_t>(0, given.positional[0].integer()));
    const size_t n = character_count(text), sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    if (n >= width) return *self.text();
    return std::string(text.substr(0, sign)) + std::string(width - n, '0') + std::string(text.substr(sign));
}

constexpr std::array kTextMethods = {
    MethodRow{"strip", strip_method<true, true>},
    MethodRow{"lstrip", strip_method<true, false>},
    MethodRow{"rstrip", strip_method<false, true>},
    MethodRow{"upper", changed<upper>},
    MethodRow{"lower", changed<lower>},
    MethodRow{"casefold", changed<lower>},
    MethodRow{"title", changed<titled>},
    MethodRow{"capitalize", changed<capitalized>},
    MethodRow{"startswith", begins<true>},
    MethodRow{"endswith", begins<false>},
    MethodRow{"removeprefix", without_prefix},
    MethodRow{"removesuffix", without_suffix},
    MethodRow{"split", split},
    MethodRow{"rsplit", split_from_right},
    MethodRow{"splitlines", split_lines},
    MethodRow{"partition", partition},
    MethodRow{"replace", replace},
    MethodRow{"find", find_in<false>},
    MethodRow{"rfind", find_in<true>},
    MethodRow{"index", index_in_text},
    MethodRow{"count", count_in_text},
    MethodRow{"join", join},
    MethodRow{"isspace", every<is_python_space>},
    MethodRow{"isdigit", every<is_digit>},
    MethodRow{"isdecimal", every<is_digit>},
    MethodRow{"isnumeric", every<is_digit>},
    MethodRow{"isalpha", every<is_alphabetic>},
    MethodRow{"isalnum", every<alphabetic_or_digit>},
    MethodRow{"isupper", in_case<to_upper>},
    MethodRow{"islower", in_case<to_lower>},
    MethodRow{"format", format},
    MethodRow{"ljust", justified<Side::left>},
    MethodRow{"rjust", justified<Side::right>},
    MethodRow{"center", justified<Side::both>},
    MethodRow{"zfill", zero_filled},
};

}  // namespace

std::span<const MethodRow> text_methods() { return kTextMethods; }

}  // namespace ggq::jinja
