// Values as JSON text, to the byte as Python's json.dumps() writes it.
#include <fmt/format.h>

#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/value.h"

namespace ggq::jinja {

namespace {

constexpr int kMostLevels = 200;

class Writer {
public:
    explicit Writer(const JsonStyle& style) : style_(style) {}

    Text written(const Value& value) {
        write(value, 0);
        return std::move(out_);
    }

private:
    void write(const Value& value, int level) {
        require(level < kMostLevels, "tojson: more than {} levels of lists and dicts", kMostLevels);
        if (const Text* text = value.text()) return string(*text);
        if (value.list() != nullptr) return list(*value.list(), level);
        if (value.dict() != nullptr) return dict(*value.dict(), level);
        out_.append(plain(value));
    }

    static std::string plain(const Value& value) {
        if (value.is_none()) return "null";
        if (const auto* flag = value.as<bool>()) return *flag ? "true" : "false";
        require(value.is_number(), "a value of type {} cannot be written as JSON", value.type());
        const std::string text = value.to_text().str();
        return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
    }

    void line(int level) {
        if (style_.indent < 0) return;
        out_.append("\n" + std::string(static_cast<size_t>(style_.indent * level), ' '));
    }

    // With an indent json.dumps() puts no blank behind the comma that ends a line.
    void separator(bool first) {
        if (first) return;
        const std::string& between = style_.item_separator;
        out_.append(style_.indent >= 0 && between == ", " ? "," : between);
    }

    void list(const List& list, int level) {
        out_.append("[");
        for (size_t i = 0; i < list.items.size(); ++i) {
            separator(i == 0);
            line(level + 1);
            write(list.items[i], level + 1);
        }
        if (!list.items.empty()) line(level);
        out_.append("]");
    }

    void dict(const Dict& dict, int level) {
        auto items = dict.items;
        if (style_.sort_keys)
            std::stable_sort(items.begin(), items.end(),
                             [](const auto& a, const auto& b) { return a.first.less(b.first); });
        out_.append("{");
        for (size_t i = 0; i < items.size(); ++i) {
            separator(i == 0);
            line(level + 1);
            string(items[i].first.text() != nullptr ? *items[i].first.text() : Text(plain(items[i].first)));
            out_.append(style_.key_separator);
            write(items[i].second, level + 1);
        }
        if (!items.empty()) line(level);
        out_.append("}");
    }

    void string(const Text& text) {
        out_.append("\"");
        size_t begin = 0;
        const std::string_view all = text.view();
        for (size_t at = 0; at < all.size();) {
            const size_t next = at + static_cast<size_t>(std::max(1, utf8_length(all[at])));
            const std::string escape = escaped(all, at);
            if (!escape.empty()) {
                out_.append(text.part(begin, at));
                out_.append(text.part(at, next).made_into(escape));
                begin = next;
            }
            at = next;
        }
        out_.append(text.part(begin, all.size()));
        out_.append("\"");
    }

    // What stands for the character at `at`; nothing: itself.
    std::string escaped(std::string_view text, size_t at) const {
        switch (text[at]) {
            case '"': return "\\\"";
            case '\\': return "\\\\";
            case '\n': return "\\n";
            case '\r': return "\\r";
            case '\t': return "\\t";
            case '\f': return "\\f";
            case '\b': return "\\b";
            default: break;
        }
        const char32_t c = utf8_code_point(text, at);
        const auto unit = [](char32_t u) { return fmt::format("\\u{:04x}", static_cast<uint32_t>(u)); };
        if (c < 0x20) return unit(c);
        if (!style_.ascii || c < 0x7f) return "";
        if (c < 0x10000) return unit(c);
        return unit(0xD800 + ((c - 0x10000) >> 10)) + unit(0xDC00 + ((c - 0x10000) & 0x3FFU));
    }

    const JsonStyle& style_;
    Text out_;
};

}  // namespace

Text to_json(const Value& value, const JsonStyle& style) { return Writer(style).written(value); }

}  // namespace ggq::jinja
