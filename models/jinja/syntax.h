// The tree of a template. Every node runs itself.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/jinja/render.h"

namespace ggq::jinja {

class Expression {
public:
    virtual ~Expression() = default;
    virtual Value value(Render& render, Scope& scope) const = 0;
};
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Flow { next, break_loop, next_turn };

class Statement {
public:
    virtual ~Statement() = default;
    virtual Flow run(Render& render, Scope& scope, Text& out) const = 0;
};

// Statements one after another; errors get the line on which their statement begins.
struct Block {
    struct Line {
        int line;
        std::unique_ptr<Statement> statement;
    };
    std::string name;  // of the template
    std::vector<Line> lines;

    Flow run(Render& render, Scope& scope, Text& out) const;
    // The text of it, in a scope of its own.
    Text text(Render& render, const Scope& scope) const;
};

// What is assigned to: a name, an attribute of a namespace, or several of them.
struct Target {
    std::string name, attribute;
    std::vector<Target> parts;

    void assign(Scope& scope, const Value& value) const;
};

struct ArgumentList {
    std::vector<ExpressionPtr> positional;
    std::vector<std::pair<std::string, ExpressionPtr>> named;
    ExpressionPtr all_positional, all_named;  // *list, **dict; null: none

    Arguments values(Render& render, Scope& scope) const;
};

// ---- expressions ----

struct Literal : Expression {
    explicit Literal(Value v) : constant(std::move(v)) {}
    Value value(Render&, Scope&) const override { return constant; }
    Value constant;
};

struct Name : Expression {
    explicit Name(std::string n) : name(std::move(n)) {}
    Value value(Render&, Scope& scope) const override;
    std::string name;
};

struct ListOf : Expression {
    Value value(Render& render, Scope& scope) const override;
    std::vector<ExpressionPtr> items;
    bool tuple = false;
};

struct DictOf : Expression {
    Value value(Render& render, Scope& scope) const override;
    std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};

struct Attribute : Expression {
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr of;
    std::string name;
};

struct Item : Expression {
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr of, key;
};

struct Slice : Expression {
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr of, begin, end, step;  // of the last three any may be null
};

struct Call : Expression {
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr function;
    ArgumentList arguments;
};

struct Apply : Expression {  // a filter or a test
    Value value(Render& render, Scope& scope) const override;
    Function function = nullptr;
    ExpressionPtr in;  // null: the text of a block
    ArgumentList arguments;
};

struct Not : Expression {
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr of;
};

using Operator = Value (*)(const Value& left, const Value& right);
// The function of an operator of two operands; null for another.
Operator find_operator(std::string_view symbol);
Value negated(const Value& value);

struct Unary : Expression {
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr of;
    bool negative = true;
};

struct Binary : Expression {
    Value value(Render& render, Scope& scope) const override;
    Operator function = nullptr;
    ExpressionPtr left, right;
};

struct Comparison : Expression {  // a < b <= c
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr first;
    std::vector<std::pair<Operator, ExpressionPtr>> rest;
};

struct Logical : Expression {  // and, or
    Value value(Render& render, Scope& scope) const override;
    bool conjunction = true;
    ExpressionPtr left, right;
};

struct Choice : Expression {  // a if condition else b
    Value value(Render& render, Scope& scope) const override;
    ExpressionPtr condition, chosen, otherwise;  // otherwise may be null
};

// ---- statements ----

struct Print : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    ExpressionPtr value;
};

struct PlainText : Statement {
    explicit PlainText(std::string t) : text(std::move(t)) {}
    Flow run(Render& render, Scope& scope, Text& out) const override;
    std::string text;
};

struct If : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    std::vector<std::pair<ExpressionPtr, Block>> branches;
    Block otherwise;
};

struct For : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    Target target;
    ExpressionPtr over, condition;  // condition may be null
    bool recursive = false;
    Block body, otherwise;
};

struct Set : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    Target target;
    ExpressionPtr value;
};

struct SetBlock : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    Target target;
    std::vector<std::unique_ptr<Apply>> filters;
    Block body;
};

struct FilterBlock : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    std::vector<std::unique_ptr<Apply>> filters;
    Block body;
};

// What a macro and the body of a {% call %} have in common.
struct Signature {
    std::string name;
    std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // a default may be null
    Block body;
};

struct Macro : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    Signature signature;
};

struct CallBlock : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    Signature caller;
    std::unique_ptr<Call> call;
};

struct With : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    std::vector<std::pair<Target, ExpressionPtr>> values;
    Block body;
};

struct Generation : Statement {
    Flow run(Render& render, Scope& scope, Text& out) const override;
    Block body;
};

struct Jump : Statement {  // break, continue
    explicit Jump(Flow f) : flow(f) {}
    Flow run(Render&, Scope&, Text&) const override { return flow; }
    Flow flow;
};

// Throws Error for what is no template, with name and line.
Block parse(std::string_view source, const std::string& name);

}  // namespace ggq::jinja
