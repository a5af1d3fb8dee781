// Filters of lists and dicts.
#include <algorithm>
#include <array>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/filters.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

namespace {

// As it is compared where letters' case does not count.
Value folded(const Value& value, bool case_counts) {
    return case_counts || value.text() == nullptr ? value : Value(lower(value.text()->view()));
}

Value first(Render&, const Value& in, const Arguments&) {
    const std::vector<Value> all = in.elements();
    return all.empty() ? Value(Undefined{"No first item, sequence was empty."}) : all.front();
}

Value last(Render&, const Value& in, const Arguments&) {
    const std::vector<Value> all = in.elements();
    return all.empty() ? Value(Undefined{"No last item, sequence was empty."}) : all.back();
}

Value length(Render&, const Value& in, const Arguments&) { return static_cast<int64_t>(in.length()); }

Value as_list(Render&, const Value& in, const Arguments&) { return Value::list(in.elements()); }

Value join(Render& render, const Value& in, const Arguments& given) {
    const Text by = text_or(given, 0, "d", "");
    const Value* attribute = given.find(1, "attribute");
    Text out;
    bool begun = false;
    for (const Value& item : in.elements()) {
        if (begun) out.append(by);
        begun = true;
        out.append((attribute == nullptr ? item : part_of(item, *attribute)).to_text());
        render.check_size(out.size());
    }
    return out;
}

Value reverse(Render&, const Value& in, const Arguments&) {
    std::vector<Value> all = in.elements();
    std::reverse(all.begin(), all.end());
    if (in.text() == nullptr) return Value::list(std::move(all));
    Text out;
    for (const Value& c : all) out.append(*c.text());
    return out;
}

void order(std::vector<Value>& items, const Value* attribute, bool case_counts, bool downward) {
    const auto key = [&](const Value& item) {
        return folded(attribute == nullptr || attribute->is_none() ? item : part_of(item, *attribute), case_counts);
    };
    std::vector<std::pair<Value, Value>> keyed;
    for (Value& item : items) {
        Value k = key(item);
        keyed.emplace_back(std::move(k), std::move(item));
    }
    std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
        return downward ? b.first.less(a.first) : a.first.less(b.first);
    });
    for (size_t i = 0; i < items.size(); ++i) items[i] = std::move(keyed[i].second);
}

Value sort(Render&, const Value& in, const Arguments& given) {
    std::vector<Value> items = in.elements();
    order(items, given.find(2, "attribute"), flag_or(given, 1, "case_sensitive", false),
          flag_or(given, 0, "reverse", false));
    return Value::list(std::move(items));
}

Value unique(Render&, const Value& in, const Arguments& given) {
    const bool case_counts = flag_or(given, 0, "case_sensitive", false);
    const Value* attribute = given.find(1, "attribute");
    std::vector<Value> kept, seen;
    for (const Value& item : in.elements()) {
        Value key = folded(attribute == nullptr ? item : part_of(item, *attribute), case_counts);
        if (std::any_of(seen.begin(), seen.end(), [&](const Value& v) { return v.equals(key); })) continue;
        seen.push_back(std::move(key));
        kept.push_back(item);
    }
    return Value::list(std::move(kept));
}

template <bool largest>
Value extreme(Render&, const Value& in, const Arguments& given) {
    std::vector<Value> items = in.elements();
    if (items.empty()) return Undefined{"No aggregated item, sequence was empty."};
    const Value* attribute = given.find(1, "attribute");
    const bool case_counts = flag_or(given, 0, "case_sensitive", false);
    order(items, attribute, case_counts, largest);
    return items.front();
}

Value sum(Render& render, const Value& in, const Arguments& given) {
    const Value* attribute = given.find(0, "attribute");
    const Value* start = given.find(1, "start");
    Value total = start == nullptr ? Value(int64_t{0}) : *start;
    for (const Value& item : in.elements()) {
        render.step();
        total =
            find_operator("+")(total, attribute == nullptr || attribute->is_none() ? item : part_of(item, *attribute));
    }
    return total;
}

Value items(Render&, const Value& in, const Arguments&) {
    if (in.is_undefined()) return Value::list({});
    require(in.dict() != nullptr, "items of a value of type {}, not a dict", in.type());
    std::vector<Value> out;
    for (const auto& [key, value] : in.dict()->items) out.push_back(Value::list({key, value}, true));
    return Value::list(std::move(out));
}

Value dict_sort(Render& render, const Value& in, const Arguments& given) {
    std::vector<Value> pairs = items(render, in, {}).elements();
    const Text by = text_or(given, 1, "by", "key");
    require(by.view() == "key" || by.view() == "value", "dictsort: by 'key' or 'value', got '{}'", shown(by.str()));
    const Value at = by.view() == "key" ? int64_t{0} : int64_t{1};
    order(pairs, &at, flag_or(given, 0, "case_sensitive", false), flag_or(given, 2, "reverse", false));
    return Value::list(std::move(pairs));
}

// Which of the items a test holds for, or of a part of them.
template <bool wanted, bool of_attribute>
Value select(Render& render, const Value& in, const Arguments& given) {
    const size_t at = of_attribute ? 1 : 0;
    const char* name = of_attribute ? "selectattr" : "select";
    Function test = nullptr;
    Arguments rest;
    if (given.positional.size() > at) {
        const Text& which = given.positional[at].to_text();
        test = find_test(which.view());
        require(test != nullptr, "a test '{}' is not known here", shown(which.str()));
        rest.positional.assign(given.positional.begin() + static_cast<std::ptrdiff_t>(at) + 1, given.positional.end());
    }
    std::vector<Value> kept;
    for (const Value& item : in.elements()) {
        render.step();
        const Value value = of_attribute ? part_of(item, needed(given, 0, "attribute", name)) : item;
        const bool holds = test == nullptr ? value.truth() : test(render, value, rest).truth();
        if (holds == wanted) kept.push_back(item);
    }
    return Value::list(std::move(kept));
}

Value map(Render& render, const Value& in, const Arguments& given) {
    std::vector<Value> out;
    if (const Value* attribute = given.find(SIZE_MAX, "attribute")) {
        const Value* fallback = given.find(SIZE_MAX, "default");
        for (const Value& item : in.elements()) {
            Value value = part_of(item, *attribute);
            out.push_back(value.is_undefined() && fallback != nullptr ? *fallback : value);
        }
        return Value::list(std::move(out));
    }
    const Text name = needed(given, 0, "filter", "map").to_text();
    const Function filter = find_filter(name.view());
    require(filter != nullptr, "a filter '{}' is not known here", shown(name.str()));
    Arguments rest{{given.positional.begin() + 1, given.positional.end()}, given.named};
    for (const Value& item : in.elements()) {
        render.step();
        out.push_back(filter(render, item, rest));
    }
    return Value::list(std::move(out));
}

Value batch(Render&, const Value& in, const Arguments& given) {
    const int64_t n = needed(given, 0, "linecount", "batch").integer();
    require(n > 0, "batch of {}", n);
    const Value* fill = given.find(1, "fill_with");
    std::vector<Value> out, row;
    const auto close = [&] { out.push_back(Value::list(std::exchange(row, {}))); };
    for (const Value& item : in.elements()) {
        if (std::ssize(row) == n) close();
        row.push_back(item);
    }
    if (row.empty()) return Value::list(std::move(out));
    require(fill == nullptr || fill->is_none() || n < 100'000, "batch of {}", n);
    while (fill != nullptr && !fill->is_none() && std::ssize(row) < n) row.push_back(*fill);
    close();
    return Value::list(std::move(out));
}

Value slice(Render&, const Value& in, const Arguments& given) {
    const int64_t n = needed(given, 0, "slices", "slice").integer();
    require(n > 0 && n < 100'000, "slice into {}", n);
    const Value* fill = given.find(1, "fill_with");
    const std::vector<Value> all = in.elements();
    const int64_t each = std::ssize(all) / n, longer = std::ssize(all) % n;
    std::vector<Value> out;
    auto at = all.begin();
    for (int64_t i = 0; i < n; ++i) {
        const auto end = at + (each + (i < longer ? 1 : 0));
        std::vector<Value> row(at, end);
        if (fill != nullptr && !fill->is_none() && i >= longer) row.push_back(*fill);
        out.push_back(Value::list(std::move(row)));
        at = end;
    }
    return Value::list(std::move(out));
}

Value group_by(Render&, const Value& in, const Arguments& given) {
    const Value& attribute = needed(given, 0, "attribute", "groupby");
    std::vector<Value> all = in.elements();
    order(all, &attribute, flag_or(given, 2, "case_sensitive", false), false);
    std::vector<Value> groups, group;
    Value key;
    const auto close = [&] {
        if (!group.empty()) groups.push_back(Value::list({key, Value::list(std::exchange(group, {}))}, true));
    };
    for (const Value& item : all) {
        Value now = part_of(item, attribute);
        if (group.empty() || !now.equals(key)) close();
        key = std::move(now);
        group.push_back(item);
    }
    close();
    return Value::list(std::move(groups));
}

constexpr std::array kRows = {
    FunctionRow{"first", first},
    FunctionRow{"last", last},
    FunctionRow{"length", length},
    FunctionRow{"count", length},
    FunctionRow{"list", as_list},
    FunctionRow{"join", join},
    FunctionRow{"reverse", reverse},
    FunctionRow{"sort", sort},
    FunctionRow{"unique", unique},
    FunctionRow{"min", extreme<false>},
    FunctionRow{"max", extreme<true>},
    FunctionRow{"sum", sum},
    FunctionRow{"items", items},
    FunctionRow{"dictsort", dict_sort},
    FunctionRow{"select", select<true, false>},
    FunctionRow{"reject", select<false, false>},
    FunctionRow{"selectattr", select<true, true>},
    FunctionRow{"rejectattr", select<false, true>},
    FunctionRow{"map", map},
    FunctionRow{"batch", batch},
    FunctionRow{"slice", slice},
    FunctionRow{"groupby", group_by},
};

}  // namespace

std::span<const FunctionRow> list_filters() { return kRows; }

}  // namespace ggq::jinja
