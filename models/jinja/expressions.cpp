#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

namespace {

// Python's slice of n items: where it begins, where it ends, and its step.
struct Range {
    int64_t begin, end, step;
};

Range slice_of(int64_t n, const Value& begin, const Value& end, const Value& step) {
    Range r{0, n, step.is_none() ? 1 : step.integer()};
    require(r.step != 0, "the step of a slice is 0");
    const int64_t least = r.step > 0 ? 0 : -1, most = r.step > 0 ? n : n - 1;
    const auto bound = [&](const Value& given, int64_t fallback) {
        if (given.is_none()) return fallback;
        const int64_t at = given.integer();
        return std::clamp(at < 0 ? at + n : at, least, most);
    };
    r.begin = bound(begin, r.step > 0 ? 0 : n - 1);
    r.end = bound(end, r.step > 0 ? n : -1);
    return r;
}

template <typename F>
void for_each(const Range& r, F&& f) {
    for (int64_t i = r.begin; r.step > 0 ? i < r.end : i > r.end; i += r.step) f(static_cast<size_t>(i));
}

Value sliced(const Value& of, const Value& begin, const Value& end, const Value& step) {
    if (const List* list = of.list()) {
        std::vector<Value> items;
        for_each(slice_of(std::ssize(list->items), begin, end, step),
                 [&](size_t i) { items.push_back(list->items[i]); });
        return Value::list(std::move(items), list->tuple);
    }
    const Text* text = of.text();
    require(text != nullptr, "a value of type {} cannot be sliced", of.type());
    const std::vector<size_t> at = character_offsets(text->view());
    const Range r = slice_of(std::ssize(at) - 1, begin, end, step);
    if (r.step == 1) {
        const auto first = static_cast<size_t>(r.begin), last = static_cast<size_t>(std::max(r.begin, r.end));
        return text->part(at[first], at[last]);
    }
    Text out;
    for_each(r, [&](size_t i) { out.append(text->part(at[i], at[i + 1])); });
    return out;
}

}  // namespace

Arguments ArgumentList::values(Render& render, Scope& scope) const {
    Arguments out;
    for (const ExpressionPtr& e : positional) out.positional.push_back(e->value(render, scope));
    for (const auto& [name, e] : named) out.named.emplace_back(name, e->value(render, scope));
    if (all_positional != nullptr)
        for (Value& item : all_positional->value(render, scope).elements()) out.positional.push_back(std::move(item));
    if (all_named != nullptr) {
        const Value given = all_named->value(render, scope);
        require(given.dict() != nullptr, "what follows ** is of type {}, not a dict", given.type());
        for (const auto& [key, item] : given.dict()->items) out.named.emplace_back(key.to_text().str(), item);
    }
    return out;
}

Value Name::value(Render&, Scope& scope) const {
    if (const Value* found = scope.find(name)) return *found;
    if (const Value* global = find_global(name)) return *global;
    return Undefined{fmt::format("'{}' is undefined", shown(name))};
}

Value ListOf::value(Render& render, Scope& scope) const {
    std::vector<Value> values;
    for (const ExpressionPtr& item : items) values.push_back(item->value(render, scope));
    return Value::list(std::move(values), tuple);
}

Value DictOf::value(Render& render, Scope& scope) const {
    Dict dict;
    for (const auto& [key, item] : items) {
        Value name = key->value(render, scope);
        dict.set(std::move(name), item->value(render, scope));
    }
    return Value::dict(std::move(dict));
}

Value Attribute::value(Render& render, Scope& scope) const { return attribute_of(of->value(render, scope), name); }

Value Item::value(Render& render, Scope& scope) const {
    const Value whole = of->value(render, scope);
    return item_of(whole, key->value(render, scope));
}

Value Slice::value(Render& render, Scope& scope) const {
    const auto part = [&](const ExpressionPtr& e) { return e == nullptr ? Value() : e->value(render, scope); };
    const Value whole = of->value(render, scope);
    if (const auto* missing = whole.as<Undefined>()) fail("{}", missing->what);
    return sliced(whole, part(begin), part(end), part(step));
}

Value Call::value(Render& render, Scope& scope) const {
    render.step();
    const Value called = function->value(render, scope);
    if (const auto* missing = called.as<Undefined>()) fail("{}", missing->what);
    require(called.object() != nullptr && called.object()->can_be_called(), "a value of type {} cannot be called",
            called.type());
    return called.object()->call(render, arguments.values(render, scope));
}

Value Apply::value(Render& render, Scope& scope) const {
    render.step();
    const Value to = in->value(render, scope);
    return function(render, to, arguments.values(render, scope));
}

Value Not::value(Render& render, Scope& scope) const { return !of->value(render, scope).truth(); }

Value Unary::value(Render& render, Scope& scope) const {
    const Value v = of->value(render, scope);
    require(v.is_number(), "a value of type {} has no sign", v.type());
    return negative ? negated(v) : v;
}

Value Binary::value(Render& render, Scope& scope) const {
    render.step();
    const Value a = left->value(render, scope);
    Value result = function(a, right->value(render, scope));
    if (result.text() != nullptr) render.check_size(result.text()->size());
    return result;
}

Value Comparison::value(Render& render, Scope& scope) const {
    Value left = first->value(render, scope);
    for (const auto& [compare, operand] : rest) {
        Value right = operand->value(render, scope);
        if (!compare(left, right).truth()) return false;
        left = std::move(right);
    }
    return true;
}

Value Logical::value(Render& render, Scope& scope) const {
    Value v = left->value(render, scope);
    return v.truth() == conjunction ? right->value(render, scope) : v;
}

Value Choice::value(Render& render, Scope& scope) const {
    if (condition->value(render, scope).truth()) return chosen->value(render, scope);
    if (otherwise == nullptr) return Undefined{"the inline if has no else, and its condition is false"};
    return otherwise->value(render, scope);
}

}  // namespace ggq::jinja
