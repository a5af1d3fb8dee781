// What values have under a name: methods (those of dict and list stand here), attributes of objects.
#include <algorithm>
#include <array>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/methods.h"

namespace ggq::jinja {

namespace {

class BoundMethod : public Object {
public:
    BoundMethod(Value self, Method method) : self_(std::move(self)), method_(method) {}
    std::string type() const override { return "method"; }
    const Value* attribute(std::string_view) override { return nullptr; }
    bool can_be_called() const override { return true; }
    Value call(Render& render, const Arguments& given) override {
        render.step();
        return method_(self_, given);
    }

private:
    Value self_;
    Method method_;
};

Value items(const Value& self, const Arguments&) {
    std::vector<Value> out;
    for (const auto& [key, value] : self.dict()->items) out.push_back(Value::list({key, value}, true));
    return Value::list(std::move(out));
}

Value keys(const Value& self, const Arguments&) { return Value::list(self.elements()); }

Value values(const Value& self, const Arguments&) {
    std::vector<Value> out;
    for (const auto& item : self.dict()->items) out.push_back(item.second);
    return Value::list(std::move(out));
}

Value get(const Value& self, const Arguments& given) {
    require(!given.positional.empty(), "get() needs a key");
    if (const Value* found = self.dict()->find(given.positional[0])) return *found;
    return given.positional.size() > 1 ? given.positional[1] : Value();
}

Value copy(const Value& self, const Arguments&) { return Value::dict(*self.dict()); }

Value unsafe(const Value&, const Arguments&) {
    fail("a template may not change lists and dicts that it was given (Jinja's sandbox); make a new one");
}

constexpr std::array kDictMethods = {
    MethodRow{"items", items},    MethodRow{"keys", keys},         MethodRow{"values", values},
    MethodRow{"get", get},        MethodRow{"copy", copy},         MethodRow{"pop", unsafe},
    MethodRow{"update", unsafe},  MethodRow{"setdefault", unsafe}, MethodRow{"clear", unsafe},
    MethodRow{"popitem", unsafe},
};

Value count_in_list(const Value& self, const Arguments& given) {
    require(given.positional.size() == 1, "count() takes one value");
    const auto& all = self.list()->items;
    return static_cast<int64_t>(
        std::count_if(all.begin(), all.end(), [&](const Value& v) { return v.equals(given.positional[0]); }));
}

Value index_in_list(const Value& self, const Arguments& given) {
    require(given.positional.size() == 1, "index() takes one value");
    const auto& all = self.list()->items;
    const auto at = std::find_if(all.begin(), all.end(), [&](const Value& v) { return v.equals(given.positional[0]); });
    require(at != all.end(), "index(): the value is not in it");
    return static_cast<int64_t>(at - all.begin());
}

constexpr std::array kListMethods = {
    MethodRow{"count", count_in_list}, MethodRow{"index", index_in_list}, MethodRow{"append", unsafe},
    MethodRow{"insert", unsafe},       MethodRow{"extend", unsafe},       MethodRow{"pop", unsafe},
    MethodRow{"remove", unsafe},       MethodRow{"reverse", unsafe},      MethodRow{"sort", unsafe},
    MethodRow{"clear", unsafe},
};

Method find_method(std::span<const MethodRow> rows, std::string_view name) {
    for (const auto& [key, method] : rows)
        if (key == name) return method;
    return nullptr;
}

Method method_of(const Value& value, std::string_view name) {
    if (value.text() != nullptr) return find_method(text_methods(), name);
    if (value.dict() != nullptr) return find_method(kDictMethods, name);
    return value.list() != nullptr ? find_method(kListMethods, name) : nullptr;
}

std::string object_name(const Value& value) { return value.is_none() ? "None" : "'" + value.type() + " object'"; }

}  // namespace

Value attribute_of(const Value& value, const std::string& name) {
    if (const auto* missing = value.as<Undefined>()) fail("{}", missing->what);
    if (const Method method = method_of(value, name))
        return Value::ObjectPtr(std::make_shared<BoundMethod>(value, method));
    if (value.dict() != nullptr)
        if (const Value* found = value.dict()->find_name(name)) return *found;
    if (value.object() != nullptr)
        if (const Value* found = value.object()->attribute(name)) return *found;
    return Undefined{fmt::format("{} has no attribute '{}'", object_name(value), shown(name))};
}

Value item_of(const Value& value, const Value& key) {
    if (const auto* missing = value.as<Undefined>()) fail("{}", missing->what);
    if (value.dict() != nullptr)
        if (const Value* found = value.dict()->find(key)) return *found;
    const bool sequence = value.list() != nullptr || value.text() != nullptr;
    if (sequence && (key.is_integer() || key.as<bool>() != nullptr)) {
        const auto n = static_cast<int64_t>(value.length());
        const int64_t at = key.integer() < 0 ? key.integer() + n : key.integer();
        if (at < 0 || at >= n) return Undefined{fmt::format("{} has no element {}", object_name(value), key.integer())};
        if (value.list() != nullptr) return value.list()->items[static_cast<size_t>(at)];
        const std::vector<size_t> offsets = character_offsets(value.text()->view());
        return value.text()->part(offsets[static_cast<size_t>(at)], offsets[static_cast<size_t>(at) + 1]);
    }
    if (key.text() != nullptr) return attribute_of(value, key.text()->str());
    return Undefined{fmt::format("{} has no element {}", object_name(value), shown(key.repr()))};
}

}  // namespace ggq::jinja
