// A value of a template: what Python's values do as far as templates see it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/jinja/text.h"

namespace ggq::jinja {

class Value;
class Render;

struct None {};
// A name or an attribute that is not there. It prints as nothing and is false; anything else asked of it is an error
// that says `what`: "'messages' is undefined".
struct Undefined {
    std::string what;
};

struct List {
    std::vector<Value> items;
    bool tuple = false;
};

// Keys in the order in which they came.
class Dict {
public:
    std::vector<std::pair<Value, Value>> items;

    const Value* find(const Value& key) const;
    const Value* find_name(std::string_view key) const;
    void set(Value key, Value value);
};

struct Arguments {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> named;

    const Value* find(size_t position, std::string_view name) const;
    // Throws Error where there are more than `n` or one is called by another name.
    void require_known(std::string_view function, size_t n, std::initializer_list<std::string_view> names) const;
};

// A macro, a bound method, range, namespace(), loop: what can be called or has attributes of its own.
class Object {
public:
    virtual ~Object() = default;
    virtual std::string type() const = 0;
    virtual const Value* attribute(std::string_view name) = 0;  // null: it has none of that name
    virtual bool can_be_called() const { return false; }
    virtual Value call(Render& render, const Arguments& arguments);
    virtual bool set_attribute(std::string_view, const Value&) { return false; }
};

class Value {
public:
    using ListPtr = std::shared_ptr<List>;
    using DictPtr = std::shared_ptr<Dict>;
    using ObjectPtr = std::shared_ptr<Object>;
    using Any = std::variant<Undefined, None, bool, int64_t, double, Text, ListPtr, DictPtr, ObjectPtr>;

    Value() : any_(None{}) {}
    template <typename T>
    requires std::is_constructible_v<Any, T> Value(T value)
        : any_(std::move(value)) {}                           // NOLINT: any of its kinds is a value
    Value(const char* text) : any_(Text(text)) {}             // NOLINT
    Value(std::string text) : any_(Text(std::move(text))) {}  // NOLINT
    static Value list(std::vector<Value> items, bool tuple = false);
    static Value dict(Dict items);

    template <typename T>
    const T* as() const {
        return std::get_if<T>(&any_);
    }
    const Text* text() const { return as<Text>(); }
    const List* list() const { return as<ListPtr>() != nullptr ? as<ListPtr>()->get() : nullptr; }
    const Dict* dict() const { return as<DictPtr>() != nullptr ? as<DictPtr>()->get() : nullptr; }
    Object* object() const { return as<ObjectPtr>() != nullptr ? as<ObjectPtr>()->get() : nullptr; }
    bool is_undefined() const { return as<Undefined>() != nullptr; }
    bool is_none() const { return as<None>() != nullptr; }
    bool is_integer() const { return as<int64_t>() != nullptr; }
    bool is_number() const { return is_integer() || as<double>() != nullptr || as<bool>() != nullptr; }
    double number() const;    // of a number
    int64_t integer() const;  // of an integer or a bool; throws Error for others

    bool truth() const;
    Text to_text() const;      // str()
    std::string repr() const;  // as Python writes it in a list
    std::string type() const;  // as Python names it

    bool equals(const Value& other) const;
    bool less(const Value& other) const;  // throws Error for what has no order
    bool contains(const Value& item) const;
    size_t length() const;                // throws Error for what has none
    std::vector<Value> elements() const;  // what a loop over it sees; throws Error for what cannot be looped over

private:
    Any any_;
};

// repr() of a double: the shortest digits that give it back.
std::string python_float(double value);

Value from_json(const nlohmann::ordered_json& json);

struct JsonStyle {
    int64_t indent = -1;  // none: on one line
    std::string item_separator = ", ", key_separator = ": ";
    bool sort_keys = false, ascii = false;
};
// As json.dumps() writes it. Texts keep their sources.
Text to_json(const Value& value, const JsonStyle& style);

}  // namespace ggq::jinja
