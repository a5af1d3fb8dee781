#include <algorithm>
#include <optional>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/placed_error.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

Flow Block::run(Render& render, Scope& scope, Text& out) const {
    for (const Line& line : lines) {
        try {
            render.step();
            const Flow flow = line.statement->run(render, scope, out);
            render.check_size(out.size());
            if (flow != Flow::next) return flow;
        } catch (const PlacedError&) {
            throw;
        } catch (const Error& error) {
            throw PlacedError(fmt::format("{} line {}: {}", name, line.line, error.what()));
        }
    }
    return Flow::next;
}

Text Block::text(Render& render, const Scope& scope) const {
    Text out;
    run(render, *scope.inner(), out);
    return out;
}

void Target::assign(Scope& scope, const Value& value) const {
    if (!parts.empty()) {
        const std::vector<Value> items = value.elements();
        require(items.size() == parts.size(), "{} names take {} values", parts.size(), items.size());
        for (size_t i = 0; i < parts.size(); ++i) parts[i].assign(scope, items[i]);
    } else if (attribute.empty()) {
        scope.set(name, value);
    } else {
        const Value* holder = scope.find(name);
        require(holder != nullptr && holder->object() != nullptr && holder->object()->set_attribute(attribute, value),
                "'{}.{}' cannot be set: only attributes of a namespace() can", shown(name), shown(attribute));
    }
}

Flow Print::run(Render& render, Scope& scope, Text& out) const {
    out.append(value->value(render, scope).to_text());
    return Flow::next;
}

Flow PlainText::run(Render&, Scope&, Text& out) const {
    out.append(text);
    return Flow::next;
}

Flow If::run(Render& render, Scope& scope, Text& out) const {
    for (const auto& [condition, block] : branches)
        if (condition->value(render, scope).truth()) return block.run(render, scope, out);
    return otherwise.run(render, scope, out);
}

Flow Set::run(Render& render, Scope& scope, Text&) const {
    target.assign(scope, value->value(render, scope));
    return Flow::next;
}

namespace {

Value filtered(const std::vector<std::unique_ptr<Apply>>& filters, Render& render, Scope& scope, Value value) {
    for (const auto& filter : filters) value = filter->function(render, value, filter->arguments.values(render, scope));
    return value;
}

}  // namespace

Flow SetBlock::run(Render& render, Scope& scope, Text&) const {
    target.assign(scope, filtered(filters, render, scope, body.text(render, scope)));
    return Flow::next;
}

Flow FilterBlock::run(Render& render, Scope& scope, Text& out) const {
    out.append(filtered(filters, render, scope, body.text(render, scope)).to_text());
    return Flow::next;
}

Flow With::run(Render& render, Scope& scope, Text& out) const {
    const ScopePtr inside = scope.inner();
    for (const auto& [target, expression] : values) target.assign(*inside, expression->value(render, scope));
    return body.run(render, *inside, out);
}

Flow Generation::run(Render& render, Scope& scope, Text& out) const {
    out.append(Text(body.text(render, scope).str(), kGenerated));
    return Flow::next;
}

namespace {

class Callable : public Object {
public:
    Callable(const Signature& signature, const ScopePtr& scope) : signature_(signature), scope_(scope) {}

    std::string type() const override { return "macro"; }
    bool can_be_called() const override { return true; }
    const Value* attribute(std::string_view name) override {
        if (name != "name") return nullptr;
        name_ = signature_.name;
        return &name_;
    }

    Value call(Render& render, const Arguments& given) override {
        const Render::Level level(render);
        const ScopePtr around = scope_.lock();
        require(around != nullptr, "the macro '{}' is called outside of the block that defines it",
                shown(signature_.name));
        const ScopePtr inside = around->inner();
        bind(render, *inside, given);
        Text out;
        signature_.body.run(render, *inside, out);
        return out;
    }

private:
    void bind(Render& render, Scope& inside, const Arguments& given) const {
        const auto& parameters = signature_.parameters;
        for (size_t i = 0; i < parameters.size(); ++i) {
            const auto& [name, fallback] = parameters[i];
            if (const Value* value = given.find(i, name)) inside.set(name, *value);
            else if (fallback != nullptr) inside.set(name, fallback->value(render, inside));
            else inside.set(name, Undefined{fmt::format("parameter '{}' was not provided", shown(name))});
        }
        bind_rest(inside, given);
    }

    // What no parameter takes: varargs, kwargs, and the caller of a {% call %}.
    void bind_rest(Scope& inside, const Arguments& given) const {
        const auto& parameters = signature_.parameters;
        std::vector<Value> more;
        for (size_t i = parameters.size(); i < given.positional.size(); ++i) more.push_back(given.positional[i]);
        Dict named;
        for (const auto& [name, value] : given.named) {
            const bool known = std::any_of(parameters.begin(), parameters.end(),
                                           [&, &key = name](const auto& p) { return p.first == key; });
            if (name == "caller" && !known) inside.set("caller", value);
            else if (!known) named.set(name, value);
        }
        inside.set("varargs", Value::list(std::move(more), true));
        inside.set("kwargs", Value::dict(std::move(named)));
    }

    const Signature& signature_;
    std::weak_ptr<Scope> scope_;  // which holds this macro
    Value name_;
};

}  // namespace

Flow Macro::run(Render&, Scope& scope, Text&) const {
    scope.set(signature.name, std::make_shared<Callable>(signature, scope.shared()));
    return Flow::next;
}

Flow CallBlock::run(Render& render, Scope& scope, Text& out) const {
    const Value called = call->function->value(render, scope);
    require(called.object() != nullptr && called.object()->can_be_called(), "{{% call %}} of a value of type {}",
            called.type());
    Arguments arguments = call->arguments.values(render, scope);
    arguments.named.emplace_back("caller", std::make_shared<Callable>(caller, scope.shared()));
    out.append(called.object()->call(render, arguments).to_text());
    return Flow::next;
}

}  // namespace ggq::jinja
