// The functions that every template can call.
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/placed_error.h"
#include "models/jinja/render.h"

namespace ggq::jinja {

namespace {

constexpr int64_t kMostOfRange = 100'000;  // as Jinja's sandbox

class GlobalFunction : public Object {
public:
    using Body = Value (*)(Render&, const Arguments&);
    explicit GlobalFunction(Body body) : body_(body) {}
    std::string type() const override { return "function"; }
    const Value* attribute(std::string_view) override { return nullptr; }
    bool can_be_called() const override { return true; }
    Value call(Render& render, const Arguments& given) override { return body_(render, given); }

private:
    Body body_;
};

class Namespace : public Object {
public:
    std::string type() const override { return "namespace"; }
    const Value* attribute(std::string_view name) override { return values_.find_name(name); }
    bool set_attribute(std::string_view name, const Value& value) override {
        values_.set(std::string(name), value);
        return true;
    }

private:
    Dict values_;
};

class Cycler : public Object {
public:
    explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
    std::string type() const override { return "cycler"; }
    const Value* attribute(std::string_view name) override {
        if (name == "current") return &items_[at_];
        if (name != "next" && name != "reset") return nullptr;
        answer_ = Value::ObjectPtr(std::make_shared<Turn>(*this, name == "next"));
        return &answer_;
    }

private:
    // cycler.next() and cycler.reset(), called at once.
    class Turn : public Object {
    public:
        Turn(Cycler& of, bool onward) : of_(of), onward_(onward) {}
        std::string type() const override { return "method"; }
        const Value* attribute(std::string_view) override { return nullptr; }
        bool can_be_called() const override { return true; }
        Value call(Render&, const Arguments&) override {
            Value now = onward_ ? of_.items_[of_.at_] : Value();
            of_.at_ = onward_ ? (of_.at_ + 1) % of_.items_.size() : 0;
            return now;
        }

    private:
        Cycler& of_;
        bool onward_;
    };

    std::vector<Value> items_;
    size_t at_ = 0;
    Value answer_;
};

class Joiner : public Object {
public:
    explicit Joiner(Value separator) : separator_(std::move(separator)) {}
    std::string type() const override { return "joiner"; }
    const Value* attribute(std::string_view) override { return nullptr; }
    bool can_be_called() const override { return true; }
    Value call(Render&, const Arguments&) override {
        if (used_) return separator_;
        used_ = true;
        return "";
    }

private:
    Value separator_;
    bool used_ = false;
};

Value range(Render&, const Arguments& given) {
    given.require_known("range", 3, {});
    require(!given.positional.empty(), "range() needs a number");
    const auto& p = given.positional;
    const int64_t begin = p.size() == 1 ? 0 : p[0].integer(), end = p.size() == 1 ? p[0].integer() : p[1].integer();
    const int64_t step = p.size() == 3 ? p[2].integer() : 1;
    require(step != 0, "the step of range() is 0");
    std::vector<Value> items;
    for (int64_t i = begin; step > 0 ? i < end : i > end;) {
        require(std::ssize(items) < kMostOfRange, "range() of more than {} numbers", kMostOfRange);
        items.emplace_back(i);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return Value::list(std::move(items));
}

Value make_namespace(Render&, const Arguments& given) {
    const auto made = std::make_shared<Namespace>();
    for (const Value& from : given.positional) {
        require(from.dict() != nullptr, "namespace() of a value of type {}", from.type());
        for (const auto& [key, value] : from.dict()->items) made->set_attribute(key.to_text().str(), value);
    }
    for (const auto& [name, value] : given.named) made->set_attribute(name, value);
    return Value::ObjectPtr(made);
}

Value make_dict(Render&, const Arguments& given) {
    Dict dict;
    if (!given.positional.empty()) {
        require(given.positional[0].dict() != nullptr, "dict() of a value of type {}", given.positional[0].type());
        dict = *given.positional[0].dict();
    }
    for (const auto& [name, value] : given.named) dict.set(name, value);
    return Value::dict(std::move(dict));
}

Value make_cycler(Render&, const Arguments& given) {
    require(!given.positional.empty(), "cycler() needs values");
    return Value::ObjectPtr(std::make_shared<Cycler>(given.positional));
}

Value make_joiner(Render&, const Arguments& given) {
    const Value* separator = given.find(0, "sep");
    return Value::ObjectPtr(std::make_shared<Joiner>(separator != nullptr ? *separator : Value(", ")));
}

// Passed on as it is: the sentence is the template's own.
Value raise_exception(Render&, const Arguments& given) {
    const Value* message = given.find(0, "message");
    fail("the template refuses this: {}", message == nullptr ? "" : shown(message->to_text().str(), 2000));
}

Value strftime_now(Render& render, const Arguments& given) {
    const Value* format = given.find(0, "format");
    require(format != nullptr && format->text() != nullptr, "strftime_now() needs a format");
    require(format->text()->size() < 200, "the format of strftime_now() is too long");
    const std::time_t now = render.now();
    std::tm parts{};
    localtime_r(&now, &parts);
    char out[1024];
    const size_t n = std::strftime(out, sizeof out, format->text()->str().c_str(), &parts);
    return std::string(out, n);
}

}  // namespace

const Value* find_global(std::string_view name) {
    static const std::array<std::pair<std::string_view, Value>, 7> kGlobals = {{
        {"range", Value::ObjectPtr(std::make_shared<GlobalFunction>(range))},
        {"namespace", Value::ObjectPtr(std::make_shared<GlobalFunction>(make_namespace))},
        {"dict", Value::ObjectPtr(std::make_shared<GlobalFunction>(make_dict))},
        {"cycler", Value::ObjectPtr(std::make_shared<GlobalFunction>(make_cycler))},
        {"joiner", Value::ObjectPtr(std::make_shared<GlobalFunction>(make_joiner))},
        {"raise_exception", Value::ObjectPtr(std::make_shared<GlobalFunction>(raise_exception))},
        {"strftime_now", Value::ObjectPtr(std::make_shared<GlobalFunction>(strftime_now))},
    }};
    for (const auto& [key, value] : kGlobals)
        if (key == name) return &value;
    return nullptr;
}

}  // namespace ggq::jinja
