#include "models/jinja/format.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq::jinja {

namespace {

constexpr int kMostWidth = 10'000;

struct Form {
    bool left = false, zeros = false, sign = false;
    int width = 0, precision = -1;
    char kind = 's';
};

int number_at(std::string_view text, size_t& at) {
    int n = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && n <= kMostWidth; ++at)
        n = n * 10 + (text[at] - '0');
    require(n <= kMostWidth, "a format is more than {} wide", kMostWidth);
    return n;
}

Form form_at(std::string_view text, size_t& at) {
    Form form;
    for (; at < text.size() && std::string_view("-0+ #").find(text[at]) != std::string_view::npos; ++at) {
        form.left |= text[at] == '-';
        form.zeros |= text[at] == '0';
        form.sign |= text[at] == '+';
    }
    form.width = number_at(text, at);
    if (at < text.size() && text[at] == '.') form.precision = number_at(text, ++at);
    require(at < text.size(), "a format ends in the middle of a %");
    form.kind = text[at++];
    return form;
}

std::string real(const Form& form, double value) {
    char out[512];
    const std::string pattern = fmt::format("%{}.*{}", form.sign ? "+" : "", form.kind);
    std::snprintf(out, sizeof out, pattern.c_str(), std::min(form.precision < 0 ? 6 : form.precision, 100), value);
    return out;
}

std::string body(const Form& form, const Value& value) {
    const auto cut = [&](std::string text) {
        if (form.precision < 0) return text;
        const std::u32string all = to_characters(text);
        return to_utf8(std::u32string_view(all).substr(0, static_cast<size_t>(form.precision)));
    };
    switch (form.kind) {
        case 's': return cut(value.to_text().str());
        case 'r': return cut(value.repr());
        case 'd':
        case 'i':
        case 'u': {
            require(value.is_number(), "%{} needs a number, got {}", form.kind, value.type());
            const auto n = value.as<double>() != nullptr ? static_cast<int64_t>(value.number()) : value.integer();
            return (form.sign && n >= 0 ? "+" : "") + std::to_string(n);
        }
        case 'x': return fmt::format("{:x}", value.integer());
        case 'X': return fmt::format("{:X}", value.integer());
        case 'o': return fmt::format("{:o}", value.integer());
        case 'c': return value.to_text().str();
        case 'f':
        case 'F':
        case 'e':
        case 'E':
        case 'g':
        case 'G':
            require(value.is_number(), "%{} needs a number, got {}", form.kind, value.type());
            return real(form, value.number());
        default: fail("a format %{} is not known here", shown(std::string(1, form.kind)));
    }
}

std::string padded(const Form& form, std::string text) {
    const size_t n = character_count(text), width = static_cast<size_t>(form.width);
    if (n >= width) return text;
    if (form.left) return text + std::string(width - n, ' ');
    if (!form.zeros || form.kind == 's' || form.kind == 'r') return std::string(width - n, ' ') + text;
    const bool signed_text = !text.empty() && (text[0] == '-' || text[0] == '+');
    return text.substr(0, signed_text ? 1 : 0) + std::string(width - n, '0') + text.substr(signed_text ? 1 : 0);
}

}  // namespace

Text percent_formatted(const Text& format, const Value& values) {
    Text out;
    const std::string_view text = format.view();
    size_t used = 0;
    const bool several = values.list() != nullptr && values.list()->tuple;
    const auto next = [&]() -> Value {
        if (!several) {
            require(used++ == 0, "a format has more than one %, but one value");
            return values;
        }
        require(used < values.list()->items.size(), "a format has more % than values");
        return values.list()->items[used++];
    };
    for (size_t at = 0; at < text.size();) {
        const size_t percent = std::min(text.find('%', at), text.size());
        out.append(format.part(at, percent));
        if (percent == text.size()) break;
        at = percent + 1;
        if (at < text.size() && text[at] == '%') {
            out.append("%");
            ++at;
            continue;
        }
        if (at < text.size() && text[at] == '(') {
            const size_t close = text.find(')', at);
            require(close != std::string_view::npos && values.dict() != nullptr, "a format %(name) needs a dict");
            const Value* found = values.dict()->find_name(text.substr(at + 1, close - at - 1));
            require(found != nullptr, "a format names '{}', which the dict has not",
                    shown(std::string(text.substr(at + 1, close - at - 1))));
            at = close + 1;
            const Form form = form_at(text, at);
            out.append(padded(form, body(form, *found)));
            used = 1;
            continue;
        }
        const Form form = form_at(text, at);
        const Value value = next();
        out.append(form.kind == 's' && form.width == 0 && form.precision < 0 ? value.to_text()
                                                                             : Text(padded(form, body(form, value))));
    }
    require(!several || used == values.list()->items.size(), "a format has fewer % than values");
    return out;
}

Text brace_formatted(const Text& format, const Arguments& arguments) {
    Text out;
    const std::string_view text = format.view();
    size_t used = 0;
    for (size_t at = 0; at < text.size();) {
        const size_t brace = std::min(text.find_first_of("{}", at), text.size());
        out.append(format.part(at, brace));
        if (brace == text.size()) break;
        at = brace + 1;
        if (at < text.size() && text[at] == text[brace]) {
            out.append(text.substr(at++, 1));
            continue;
        }
        require(text[brace] == '{', "format(): a '}}' stands alone");
        const size_t close = text.find('}', at);
        require(close != std::string_view::npos, "format(): a '{{' is not closed");
        const std::string_view name = text.substr(at, close - at);
        const bool number = name.find_first_not_of("0123456789") == std::string_view::npos;
        require(name.find_first_of("!:.[") == std::string_view::npos && name.size() < 100,
                "format(): '{{{}}}' is not known here", shown(std::string(name)));
        const size_t position = name.empty() ? used++ : number ? std::stoul(std::string(name)) : SIZE_MAX;
        const Value* value = arguments.find(position, name);
        require(value != nullptr, "format(): no value for '{{{}}}'", shown(std::string(name)));
        out.append(value->to_text());
        at = close + 1;
    }
    return out;
}

}  // namespace ggq::jinja
