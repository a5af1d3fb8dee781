// Filters of numbers and of any value, and what all filters share.
#include <array>
#include <charconv>
#include <cmath>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/filters.h"

namespace ggq::jinja {

Function find_function(std::span<const FunctionRow> rows, std::string_view name) {
    for (const auto& [key, function] : rows)
        if (key == name) return function;
    return nullptr;
}

Value part_of(const Value& value, const Value& attribute) {
    if (attribute.text() == nullptr) return item_of(value, attribute);
    Value at = value;
    const std::string& path = attribute.text()->str();
    for (size_t begin = 0; begin <= path.size();) {
        const size_t end = std::min(path.find('.', begin), path.size());
        const std::string name = path.substr(begin, end - begin);
        const bool number =
            !name.empty() && name.size() < 10 && name.find_first_not_of("0123456789") == std::string::npos;
        at = item_of(at, number ? Value(static_cast<int64_t>(std::stol(name))) : Value(name));
        begin = end + 1;
    }
    return at;
}

const Value& needed(const Arguments& given, size_t at, std::string_view name, std::string_view filter) {
    const Value* value = given.find(at, name);
    require(value != nullptr, "{} needs its argument '{}'", filter, name);
    return *value;
}

int64_t integer_or(const Arguments& given, size_t at, std::string_view name, int64_t fallback) {
    const Value* value = given.find(at, name);
    return value == nullptr || value->is_none() ? fallback : value->integer();
}

bool flag_or(const Arguments& given, size_t at, std::string_view name, bool fallback) {
    const Value* value = given.find(at, name);
    return value == nullptr ? fallback : value->truth();
}

Text text_or(const Arguments& given, size_t at, std::string_view name, const Text& fallback) {
    const Value* value = given.find(at, name);
    return value == nullptr ? fallback : value->to_text();
}

namespace {

Value or_else(Render&, const Value& in, const Arguments& given) {
    const bool missing = in.is_undefined() || (flag_or(given, 1, "boolean", false) && !in.truth());
    if (!missing) return in;
    const Value* fallback = given.find(0, "default_value");
    return fallback == nullptr ? Value("") : *fallback;
}

Value absolute(Render&, const Value& in, const Arguments&) {
    require(in.is_number(), "abs of a value of type {}", in.type());
    if (in.as<double>() != nullptr) return std::fabs(in.number());
    require(in.integer() != INT64_MIN, "a whole number beyond 64 bits");
    return std::abs(in.integer());
}

// Of a base other than ten with or without its prefix.
bool read_whole(std::string_view text, int64_t& value, int64_t base) {
    require(base >= 2 && base <= 36, "int: a base of {}", base);
    const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
    if (text.starts_with('+')) text.remove_prefix(1);
    if (!prefix.empty() && lower(text).starts_with(prefix)) text.remove_prefix(2);
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value, static_cast<int>(base));
    return !text.empty() && read.ec == std::errc{} && read.ptr == text.data() + text.size();
}

bool read_real(std::string_view text, double& value) {
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    return !text.empty() && read.ec == std::errc{} && read.ptr == text.data() + text.size();
}

Value to_integer(Render&, const Value& in, const Arguments& given) {
    double real = 0;
    if (const Text* text = in.text()) {
        const Text bare = strip(*text, true, true);
        int64_t whole = 0;
        if (read_whole(bare.view(), whole, integer_or(given, 1, "base", 10))) return whole;
        if (!read_real(bare.view(), real)) return integer_or(given, 0, "default", 0);
    } else if (in.is_number()) {
        if (in.as<double>() == nullptr) return in.integer();
        real = in.number();
    } else {
        return integer_or(given, 0, "default", 0);
    }
    require(std::fabs(real) < 9.2e18, "a whole number beyond 64 bits");
    return static_cast<int64_t>(real);
}

Value to_real(Render&, const Value& in, const Arguments& given) {
    if (in.is_number()) return in.number();
    double real = 0;
    if (in.text() != nullptr && read_real(strip(*in.text(), true, true).view(), real)) return real;
    const Value* fallback = given.find(0, "default");
    return fallback == nullptr ? Value(0.0) : *fallback;
}

// To even where it is halfway, as Python rounds.
Value round_to(Render&, const Value& in, const Arguments& given) {
    require(in.is_number(), "round of a value of type {}", in.type());
    const int64_t precision = integer_or(given, 0, "precision", 0);
    require(precision >= -300 && precision <= 300, "round to {} places", precision);
    const Text method = text_or(given, 1, "method", "common");
    const double scale = std::pow(10.0, static_cast<double>(precision)), scaled = in.number() * scale;
    if (method.view() == "common") {
        if (in.as<double>() == nullptr && precision >= 0) return in.integer();
        if (precision <= 0) return std::nearbyint(scaled) / scale;
        const std::string digits = fmt::format("{:.{}f}", in.number(), precision);
        return std::strtod(digits.c_str(), nullptr);
    }
    require(method.view() == "ceil" || method.view() == "floor", "round: 'common', 'ceil' or 'floor', got '{}'",
            shown(method.str()));
    return (method.view() == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

Value attribute(Render&, const Value& in, const Arguments& given) {
    return attribute_of(in, needed(given, 0, "name", "attr").to_text().str());
}

// As transformers has it: no escapes of HTML, and characters beyond ASCII as they are.
Value to_json_filter(Render& render, const Value& in, const Arguments& given) {
    if (const auto* missing = in.as<Undefined>()) fail("tojson of what is undefined: {}", missing->what);
    JsonStyle style;
    const Value* indent = given.find(1, "indent");
    if (indent == nullptr) indent = given.find(SIZE_MAX, "indent");
    if (indent != nullptr && !indent->is_none()) style.indent = indent->integer();
    require(style.indent <= 100, "tojson: an indent of {}", style.indent);
    style.ascii = flag_or(given, 0, "ensure_ascii", false);
    style.sort_keys = flag_or(given, 3, "sort_keys", false);
    if (const Value* separators = given.find(2, "separators"); separators != nullptr && !separators->is_none()) {
        const std::vector<Value> two = separators->elements();
        require(two.size() == 2, "tojson: separators are two");
        style.item_separator = two[0].to_text().str();
        style.key_separator = two[1].to_text().str();
    }
    Text text = to_json(in, style);
    render.check_size(text.size());
    return text;
}

Value printed(Render&, const Value& in, const Arguments&) { return in.repr(); }

constexpr std::array kRows = {
    FunctionRow{"default", or_else}, FunctionRow{"d", or_else},
    FunctionRow{"abs", absolute},    FunctionRow{"int", to_integer},
    FunctionRow{"float", to_real},   FunctionRow{"round", round_to},
    FunctionRow{"attr", attribute},  FunctionRow{"tojson", to_json_filter},
    FunctionRow{"pprint", printed},
};

}  // namespace

std::span<const FunctionRow> value_filters() { return kRows; }

Function find_filter(std::string_view name) {
    for (const auto rows : {text_filters(), list_filters(), value_filters()})
        if (const Function found = find_function(rows, name)) return found;
    return nullptr;
}

}  // namespace ggq::jinja
