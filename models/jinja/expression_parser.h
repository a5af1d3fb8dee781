// Expressions of a template, read from its tokens.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/jinja/lexer.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

class ExpressionParser {
public:
    ExpressionParser(std::vector<LexToken> tokens, const std::string& name) : tokens_(std::move(tokens)), name_(name) {}

    ExpressionPtr expression(bool with_choice = true);
    // One, or several with commas between them, which are a tuple. It ends before the name `stop`.
    ExpressionPtr tuple(bool with_choice = true, std::string_view stop = {});
    Target target(bool with_tuple);
    std::unique_ptr<Apply> filter(ExpressionPtr in);  // its name is next

    const std::string& template_name() const { return name_; }
    const LexToken& here() const { return tokens_[at_]; }
    bool at_end() const { return here().kind == TokenKind::end; }
    LexToken take() { return at_end() ? tokens_[at_] : tokens_[at_++]; }
    bool is_op(std::string_view op) const { return here().kind == TokenKind::op && here().text == op; }
    bool is_name(std::string_view name) const { return here().kind == TokenKind::name && here().text == name; }
    bool skip_op(std::string_view op);
    bool skip_name(std::string_view name);
    void take_op(std::string_view op);
    void take_name(std::string_view name);
    void take_kind(TokenKind kind, std::string_view what);
    std::string identifier();
    [[noreturn]] void refuse(const std::string& what) const;

    // Bounds how deep blocks and expressions lie in each other.
    class Nesting {
    public:
        explicit Nesting(ExpressionParser& parser);
        ~Nesting() { --parser_.depth_; }
        Nesting(const Nesting&) = delete;
        Nesting& operator=(const Nesting&) = delete;

    private:
        ExpressionParser& parser_;
    };

private:
    ExpressionPtr disjunction();
    ExpressionPtr conjunction();
    ExpressionPtr negation();
    ExpressionPtr comparison();
    ExpressionPtr chain(ExpressionPtr (ExpressionParser::*operand)(), std::initializer_list<std::string_view> ops);
    ExpressionPtr sum();
    ExpressionPtr joined();
    ExpressionPtr product();
    ExpressionPtr power();
    ExpressionPtr unary_with_filters() { return unary(true); }
    ExpressionPtr unary(bool with_filters);
    ExpressionPtr primary();
    ExpressionPtr literal_text();
    ExpressionPtr number();
    ExpressionPtr list();
    ExpressionPtr dict();
    ExpressionPtr in_parentheses();
    ExpressionPtr postfix(ExpressionPtr of);
    ExpressionPtr filters_and_tests(ExpressionPtr of);
    ExpressionPtr test(ExpressionPtr of);
    ExpressionPtr member(ExpressionPtr of);
    ExpressionPtr subscript(ExpressionPtr of);
    ArgumentList arguments();
    bool ends_tuple(std::string_view stop) const;

    std::vector<LexToken> tokens_;
    const std::string& name_;
    size_t at_ = 0;
    int depth_ = 0;
};

}  // namespace ggq::jinja
