// {% for %}, and what `loop` knows in it.
#include <algorithm>
#include <functional>

#include "ggq/error.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

namespace {

using Recursion = std::function<Value(Render&, const Value& over, int64_t depth)>;

class Cycle : public Object {
public:
    explicit Cycle(const int64_t& index) : index_(index) {}
    std::string type() const override { return "loop.cycle"; }
    const Value* attribute(std::string_view) override { return nullptr; }
    bool can_be_called() const override { return true; }
    Value call(Render&, const Arguments& given) override {
        require(!given.positional.empty(), "loop.cycle() needs values");
        return given.positional[static_cast<size_t>(index_) % given.positional.size()];
    }

private:
    const int64_t& index_;
};

class Changed : public Object {
public:
    std::string type() const override { return "loop.changed"; }
    const Value* attribute(std::string_view) override { return nullptr; }
    bool can_be_called() const override { return true; }
    Value call(Render&, const Arguments& given) override {
        const Value now = Value::list(given.positional, true);
        const bool changed = !asked_ || !last_.equals(now);
        last_ = now;
        asked_ = true;
        return changed;
    }

private:
    Value last_;
    bool asked_ = false;
};

class Loop : public Object {
public:
    Loop(const std::vector<Value>& items, int64_t depth, Recursion recursion)
        : items_(items),
          depth_(depth),
          recursion_(std::move(recursion)),
          cycle_(std::make_shared<Cycle>(index_)),
          changed_(std::make_shared<Changed>()) {}

    void turn(int64_t index) { index_ = index; }

    std::string type() const override { return "loop"; }
    bool can_be_called() const override { return recursion_ != nullptr; }
    Value call(Render& render, const Arguments& given) override {
        require(recursion_ != nullptr, "the loop is not recursive");
        require(given.positional.size() == 1, "loop() takes what to loop over");
        return recursion_(render, given.positional[0], depth_ + 1);
    }

    const Value* attribute(std::string_view name) override {
        const int64_t n = std::ssize(items_);
        if (name == "index") answer_ = index_ + 1;
        else if (name == "index0") answer_ = index_;
        else if (name == "revindex") answer_ = n - index_;
        else if (name == "revindex0") answer_ = n - index_ - 1;
        else if (name == "first") answer_ = index_ == 0;
        else if (name == "last") answer_ = index_ == n - 1;
        else if (name == "length") answer_ = n;
        else if (name == "depth") answer_ = depth_ + 1;
        else if (name == "depth0") answer_ = depth_;
        else if (name == "previtem") answer_ = item(index_ - 1, "there is no previous item");
        else if (name == "nextitem") answer_ = item(index_ + 1, "there is no next item");
        else if (name == "cycle") answer_ = cycle_;
        else if (name == "changed") answer_ = changed_;
        else return nullptr;
        return &answer_;
    }

private:
    Value item(int64_t at, const char* missing) const {
        if (at < 0 || at >= std::ssize(items_)) return Undefined{missing};
        return items_[static_cast<size_t>(at)];
    }

    const std::vector<Value> items_;
    int64_t depth_, index_ = 0;
    Recursion recursion_;
    Value::ObjectPtr cycle_, changed_;
    Value answer_;
};

// The items that the loop's own condition lets through.
std::vector<Value> chosen(const For& node, Render& render, Scope& scope, const Value& over) {
    if (const auto* missing = over.as<Undefined>()) fail("{}", missing->what);
    std::vector<Value> items = over.elements();
    if (node.condition == nullptr) return items;
    std::vector<Value> kept;
    for (Value& item : items) {
        render.step();
        const ScopePtr inside = scope.inner();
        node.target.assign(*inside, item);
        if (node.condition->value(render, *inside).truth()) kept.push_back(std::move(item));
    }
    return kept;
}

Flow run_loop(const For& node, Render& render, Scope& scope, Text& out, const Value& over, int64_t depth) {
    const Render::Level level(render);
    const std::vector<Value> items = chosen(node, render, scope, over);
    if (items.empty()) return node.otherwise.run(render, *scope.inner(), out);
    Recursion recursion;
    if (node.recursive)
        recursion = [&](Render& r, const Value& inner, int64_t inner_depth) {
            Text text;
            run_loop(node, r, scope, text, inner, inner_depth);
            return Value(text);
        };
    const auto loop = std::make_shared<Loop>(items, depth, recursion);
    for (size_t i = 0; i < items.size(); ++i) {
        render.step();
        loop->turn(static_cast<int64_t>(i));
        const ScopePtr inside = scope.inner();
        inside->set("loop", Value::ObjectPtr(loop));
        node.target.assign(*inside, items[i]);
        if (node.body.run(render, *inside, out) == Flow::break_loop) break;
    }
    return Flow::next;
}

}  // namespace

Flow For::run(Render& render, Scope& scope, Text& out) const {
    return run_loop(*this, render, scope, out, over->value(render, scope), 0);
}

}  // namespace ggq::jinja
