#include "models/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq::jinja {

namespace {

constexpr size_t kMostLevels = 200;  // of lists within lists, in what is printed or compared

std::string quoted(std::string_view text) {
    const bool with_double = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
    const char quote = with_double ? '"' : '\'';
    std::string out(1, quote);
    for (const char c : text) {
        if (c == quote || c == '\\') out.push_back('\\');
        if (c == '\n') out += "\\n";
        else if (c == '\r') out += "\\r";
        else if (c == '\t') out += "\\t";
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            out += fmt::format("\\x{:02x}", static_cast<int>(c));
        else out.push_back(c);
    }
    return out += quote;
}

std::string repr_within(const Value& value, size_t level);

std::string joined(const List& list, size_t level) {
    std::string out;
    for (const Value& item : list.items) out += (out.empty() ? "" : ", ") + repr_within(item, level + 1);
    if (!list.tuple) return "[" + out + "]";
    return "(" + out + (list.items.size() == 1 ? ",)" : ")");
}

std::string joined(const Dict& dict, size_t level) {
    std::string out;
    for (const auto& [key, value] : dict.items)
        out += (out.empty() ? "" : ", ") + repr_within(key, level + 1) + ": " + repr_within(value, level + 1);
    return "{" + out + "}";
}

std::string repr_within(const Value& value, size_t level) {
    require(level < kMostLevels, "lists are nested more than {} levels deep", kMostLevels);
    if (const List* list = value.list()) return joined(*list, level);
    if (const Dict* dict = value.dict()) return joined(*dict, level);
    if (const Text* text = value.text()) return quoted(text->view());
    if (value.is_undefined()) return "Undefined";
    return value.to_text().str();
}

}  // namespace

std::string python_float(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    char digits[64];
    const double size = std::fabs(value);
    const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
    const auto end = std::to_chars(digits, digits + sizeof digits, value,
                                   plain ? std::chars_format::fixed : std::chars_format::scientific);
    std::string out(digits, end.ptr);
    if (plain && out.find('.') == std::string::npos) out += ".0";
    return out;
}

const Value* Dict::find(const Value& key) const {
    for (const auto& [name, value] : items)
        if (name.equals(key)) return &value;
    return nullptr;
}

const Value* Dict::find_name(std::string_view key) const {
    for (const auto& [name, value] : items)
        if (name.text() != nullptr && name.text()->view() == key) return &value;
    return nullptr;
}

void Dict::set(Value key, Value value) {
    for (auto& [name, old] : items) {
        if (!name.equals(key)) continue;
        old = std::move(value);
        return;
    }
    items.emplace_back(std::move(key), std::move(value));
}

const Value* Arguments::find(size_t position, std::string_view name) const {
    if (position < positional.size()) return &positional[position];
    for (const auto& [key, value] : named)
        if (key == name) return &value;
    return nullptr;
}

void Arguments::require_known(std::string_view function, size_t n,
                              std::initializer_list<std::string_view> names) const {
    require(positional.size() <= n, "{}() takes at most {} arguments, got {}", function, n, positional.size());
    for (const auto& [key, value] : named)
        require(std::find(names.begin(), names.end(), key) != names.end(), "{}() has no argument '{}'", function,
                shown(key));
}

Value Object::call(Render&, const Arguments&) { fail("a {} cannot be called", type()); }

Value Value::list(std::vector<Value> items, bool tuple) {
    return std::make_shared<List>(List{std::move(items), tuple});
}

Value Value::dict(Dict items) { return std::make_shared<Dict>(std::move(items)); }

double Value::number() const {
    if (const auto* value = as<double>()) return *value;
    return static_cast<double>(integer());
}

int64_t Value::integer() const {
    if (const auto* value = as<bool>()) return *value ? 1 : 0;
    if (const auto* value = as<int64_t>()) return *value;
    fail("expected a whole number, got {}", type());
}

bool Value::truth() const {
    if (is_undefined() || is_none()) return false;
    if (const Text* value = text()) return !value->empty();
    if (const List* value = list()) return !value->items.empty();
    if (const Dict* value = dict()) return !value->items.empty();
    return object() != nullptr || number() != 0;
}

Text Value::to_text() const {
    if (const Text* value = text()) return *value;
    if (is_undefined()) return "";
    if (is_none()) return "None";
    if (const auto* value = as<bool>()) return *value ? "True" : "False";
    if (const auto* value = as<int64_t>()) return std::to_string(*value);
    if (const auto* value = as<double>()) return python_float(*value);
    if (const Object* value = object()) return "<" + value->type() + ">";
    return repr_within(*this, 0);
}

std::string Value::repr() const { return repr_within(*this, 0); }

std::string Value::type() const {
    if (is_undefined()) return "Undefined";
    if (is_none()) return "None";
    if (as<bool>() != nullptr) return "bool";
    if (is_integer()) return "int";
    if (as<double>() != nullptr) return "float";
    if (text() != nullptr) return "str";
    if (list() != nullptr) return list()->tuple ? "tuple" : "list";
    return dict() != nullptr ? "dict" : object()->type();
}

bool Value::equals(const Value& other) const {
    if (is_number() && other.is_number()) {
        if (as<double>() == nullptr && other.as<double>() == nullptr) return integer() == other.integer();
        return number() == other.number();
    }
    if (any_.index() != other.any_.index()) return false;
    if (const Text* value = text()) return value->str() == other.text()->str();
    if (const List* value = list()) {
        return value->tuple == other.list()->tuple &&
               std::equal(value->items.begin(), value->items.end(), other.list()->items.begin(),
                          other.list()->items.end(), [](const Value& a, const Value& b) { return a.equals(b); });
    }
    if (const Dict* value = dict()) {
        if (value->items.size() != other.dict()->items.size()) return false;
        return std::all_of(value->items.begin(), value->items.end(), [&](const auto& item) {
            const Value* there = other.dict()->find(item.first);
            return there != nullptr && there->equals(item.second);
        });
    }
    return object() == other.object();
}

bool Value::less(const Value& other) const {
    if (is_number() && other.is_number()) {
        if (as<double>() == nullptr && other.as<double>() == nullptr) return integer() < other.integer();
        return number() < other.number();
    }
    if (text() != nullptr && other.text() != nullptr) return text()->str() < other.text()->str();
    if (list() != nullptr && other.list() != nullptr) {
        const std::vector<Value>&a = list()->items, &b = other.list()->items;
        return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                            [](const Value& x, const Value& y) { return x.less(y); });
    }
    fail("{} and {} have no order", type(), other.type());
}

bool Value::contains(const Value& item) const {
    if (const Text* value = text()) {
        require(item.text() != nullptr, "'in <str>' needs a str on its left, got {}", item.type());
        return value->str().find(item.text()->str()) != std::string::npos;
    }
    if (const Dict* value = dict()) return value->find(item) != nullptr;
    const std::vector<Value> all = elements();
    return std::any_of(all.begin(), all.end(), [&](const Value& value) { return value.equals(item); });
}

size_t Value::length() const {
    if (is_undefined()) return 0;
    if (const Text* value = text()) return character_count(value->view());
    if (const List* value = list()) return value->items.size();
    if (const Dict* value = dict()) return value->items.size();
    fail("a value of type {} has no length", type());
}

std::vector<Value> Value::elements() const {
    if (is_undefined()) return {};
    if (const List* value = list()) return value->items;
    std::vector<Value> out;
    if (const Dict* value = dict()) {
        for (const auto& item : value->items) out.push_back(item.first);
        return out;
    }
    if (const Text* value = text()) {
        const std::vector<size_t> at = character_offsets(value->view());
        for (size_t i = 0; i + 1 < at.size(); ++i) out.emplace_back(value->part(at[i], at[i + 1]));
        return out;
    }
    fail("a value of type {} cannot be looped over", type());
}

Value from_json(const nlohmann::ordered_json& json) {
    if (json.is_null()) return None{};
    if (json.is_boolean()) return json.get<bool>();
    if (json.is_number_integer()) {
        if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX}) return json.get<double>();
        return json.get<int64_t>();
    }
    if (json.is_number()) return json.get<double>();
    if (json.is_string()) return json.get<std::string>();
    if (json.is_array()) {
        std::vector<Value> items;
        for (const auto& item : json) items.push_back(from_json(item));
        return Value::list(std::move(items));
    }
    Dict dict;
    for (const auto& [key, value] : json.items()) dict.items.emplace_back(key, from_json(value));
    return Value::dict(std::move(dict));
}

}  // namespace ggq::jinja
