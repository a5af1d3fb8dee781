// Filters of texts.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ggq/error.h"
#include "models/jinja/filters.h"
#include "models/jinja/format.h"

namespace ggq::jinja {

namespace {

constexpr int64_t kMostWidth = 100'000;

template <std::string (*f)(std::string_view)>
Value changed(Render&, const Value& in, const Arguments&) {
    const Text text = in.to_text();
    return text.made_into(f(text.view()));
}

// A letter is a capital where a word begins: at the start, and behind white space, hyphens and brackets.
std::string title(std::string_view text) {
    std::u32string all = to_characters(text);
    bool begins = true;
    for (char32_t& c : all) {
        const bool separates = is_python_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
        c = begins ? to_upper(c) : to_lower(c);
        begins = separates;
    }
    return to_utf8(all);
}

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '&') out += "&amp;";
        else if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (c == '"') out += "&#34;";
        else if (c == '\'') out += "&#39;";
        else out += c;
    }
    return out;
}

std::string url_encoded(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool stays = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                           std::string_view("_.-~/").find(c) != std::string_view::npos;
        out += stays ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

std::string without_tags(std::string_view text) {
    std::string plain;
    for (size_t at = 0; at < text.size();) {
        const size_t close = text[at] == '<' ? text.find('>', at) : std::string_view::npos;
        if (close != std::string_view::npos) at = close + 1;
        else plain += text[at++];
    }
    std::string out;
    for (const char c : plain) {
        const bool space = c == ' ' || (c >= '\t' && c <= '\r');
        if (!space) out += c;
        else if (!out.empty() && out.back() != ' ') out += ' ';
    }
    while (out.ends_with(' ')) out.pop_back();
    return out;
}

Value as_text(Render&, const Value& in, const Arguments&) { return in.to_text(); }

Value trim(Render&, const Value& in, const Arguments& given) {
    const Value* characters = given.find(0, "chars");
    if (characters == nullptr || characters->is_none()) return strip(in.to_text(), true, true);
    const std::u32string set = to_characters(characters->to_text().view());
    return strip(in.to_text(), true, true, &set);
}

Value replace(Render&, const Value& in, const Arguments& given) {
    const Text text = in.to_text();
    const Value* count = given.find(2, "count");
    return text.made_into(replaced(text.view(), needed(given, 0, "old", "replace").to_text().view(),
                                   needed(given, 1, "new", "replace").to_text().view(),
                                   count == nullptr || count->is_none() ? -1 : static_cast<long>(count->integer())));
}

std::vector<Text> lines_of(const Text& text) {
    std::vector<Text> lines;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.view().find('\n', begin), text.size());
        lines.push_back(text.part(begin, end));
        begin = end + 1;
    }
    return lines;
}

Value indent(Render&, const Value& in, const Arguments& given) {
    const Value* width = given.find(0, "width");
    const int64_t n = width == nullptr ? 4 : width->text() != nullptr ? 0 : width->integer();
    require(n >= 0 && n <= kMostWidth, "indent of {}", n);
    const std::string by =
        width != nullptr && width->text() != nullptr ? width->text()->str() : std::string(static_cast<size_t>(n), ' ');
    const bool first = flag_or(given, 1, "first", false), blank = flag_or(given, 2, "blank", false);
    Text whole = in.to_text();
    whole.append("\n");  // as Jinja: a text that ends a line has an empty last one
    const std::vector<Text> lines = lines_of(whole);
    Text out;
    for (size_t i = 0; i < lines.size(); ++i) {
        if (i > 0) out.append("\n");
        if (i == 0 ? first : blank || !lines[i].empty()) out.append(by);
        out.append(lines[i]);
    }
    return out;
}

Value center(Render&, const Value& in, const Arguments& given) {
    const int64_t width = integer_or(given, 0, "width", 80);
    require(width <= kMostWidth, "center to {}", width);
    const Text text = in.to_text();
    const auto n = static_cast<int64_t>(character_count(text.view()));
    if (n >= width) return text;
    const int64_t more = width - n, before = more / 2 + (more & width & 1);
    Text out(std::string(static_cast<size_t>(before), ' '));
    out.append(text);
    out.append(std::string(static_cast<size_t>(more - before), ' '));
    return out;
}

Value truncate(Render&, const Value& in, const Arguments& given) {
    const int64_t length = integer_or(given, 0, "length", 255), leeway = integer_or(given, 3, "leeway", 5);
    const Text end = text_or(given, 2, "end", "...");
    const auto n_end = static_cast<int64_t>(character_count(end.view()));
    require(length >= n_end, "truncate: expected a length of at least {}, got {}", n_end, length);
    const Text text = in.to_text();
    const std::vector<size_t> at = character_offsets(text.view());
    if (std::ssize(at) - 1 <= length + leeway) return text;
    Text cut = text.part(0, at[static_cast<size_t>(length - n_end)]);
    if (!flag_or(given, 1, "killwords", false)) {
        const size_t space = cut.view().rfind(' ');
        if (space != std::string_view::npos) cut = cut.part(0, space);
    }
    cut.append(end);
    return cut;
}

Value word_count(Render&, const Value& in, const Arguments&) {
    int64_t n = 0;
    bool inside = false;
    for (const char32_t c : to_characters(in.to_text().view())) {
        const bool word = is_alphabetic(c) || is_digit(c) || c == '_';
        n += word && !inside ? 1 : 0;
        inside = word;
    }
    return n;
}

Value format(Render&, const Value& in, const Arguments& given) {
    require(given.positional.empty() || given.named.empty(), "format takes values by place or by name, not both");
    if (given.named.empty()) return percent_formatted(in.to_text(), Value::list(given.positional, true));
    Dict dict;
    for (const auto& [name, value] : given.named) dict.set(name, value);
    return percent_formatted(in.to_text(), Value::dict(std::move(dict)));
}

constexpr std::array kRows = {
    FunctionRow{"upper", changed<upper>},
    FunctionRow{"lower", changed<lower>},
    FunctionRow{"capitalize", changed<capitalized>},
    FunctionRow{"title", changed<title>},
    FunctionRow{"escape", changed<escaped>},
    FunctionRow{"e", changed<escaped>},
    FunctionRow{"forceescape", changed<escaped>},
    FunctionRow{"urlencode", changed<url_encoded>},
    FunctionRow{"striptags", changed<without_tags>},
    FunctionRow{"string", as_text},
    FunctionRow{"safe", as_text},
    FunctionRow{"trim", trim},
    FunctionRow{"replace", replace},
    FunctionRow{"indent", indent},
    FunctionRow{"center", center},
    FunctionRow{"truncate", truncate},
    FunctionRow{"wordcount", word_count},
    FunctionRow{"format", format},
};

}  // namespace

std::span<const FunctionRow> text_filters() { return kRows; }

}  // namespace ggq::jinja
