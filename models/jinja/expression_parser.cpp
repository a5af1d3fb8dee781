#include "models/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq::jinja {

namespace {

constexpr int kMostDepth = 300;

std::string written(const LexToken& token) {
    if (token.kind == TokenKind::end) return "the end of the template";
    if (token.kind == TokenKind::block_end) return "'%}'";
    if (token.kind == TokenKind::print_end) return "'}}'";
    return "'" + shown(token.text) + "'";
}

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMostDepth) parser_.refuse(fmt::format("more than {} levels within each other", kMostDepth));
}

void ExpressionParser::refuse(const std::string& what) const { fail("{} line {}: {}", name_, here().line, what); }

bool ExpressionParser::skip_op(std::string_view op) {
    if (!is_op(op)) return false;
    take();
    return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
    if (!is_name(name)) return false;
    take();
    return true;
}

void ExpressionParser::take_op(std::string_view op) {
    if (!skip_op(op)) refuse(fmt::format("expected '{}', got {}", op, written(here())));
}

void ExpressionParser::take_name(std::string_view name) {
    if (!skip_name(name)) refuse(fmt::format("expected '{}', got {}", name, written(here())));
}

void ExpressionParser::take_kind(TokenKind kind, std::string_view what) {
    if (here().kind != kind) refuse(fmt::format("expected '{}', got {}", what, written(here())));
    take();
}

std::string ExpressionParser::identifier() {
    if (here().kind != TokenKind::name) refuse(fmt::format("expected a name, got {}", written(here())));
    return take().text;
}

ExpressionPtr ExpressionParser::expression(bool with_choice) {
    const Nesting nesting(*this);
    ExpressionPtr value = disjunction();
    while (with_choice && skip_name("if")) {
        auto choice = std::make_unique<Choice>();
        choice->chosen = std::move(value);
        choice->condition = disjunction();
        if (skip_name("else")) choice->otherwise = expression();
        value = std::move(choice);
    }
    return value;
}

bool ExpressionParser::ends_tuple(std::string_view stop) const {
    return here().kind == TokenKind::block_end || here().kind == TokenKind::print_end || is_op(")") ||
           (!stop.empty() && is_name(stop));
}

ExpressionPtr ExpressionParser::tuple(bool with_choice, std::string_view stop) {
    std::vector<ExpressionPtr> items;
    bool several = false;
    while (!ends_tuple(stop)) {
        items.push_back(expression(with_choice));
        if (!skip_op(",")) break;
        several = true;
    }
    if (!several && items.size() == 1) return std::move(items[0]);
    if (items.empty()) refuse(fmt::format("expected an expression, got {}", written(here())));
    auto node = std::make_unique<ListOf>();
    node->items = std::move(items);
    node->tuple = true;
    return node;
}

Target ExpressionParser::target(bool with_tuple) {
    const Nesting nesting(*this);
    Target first;
    if (skip_op("(")) {
        first = target(true);
        take_op(")");
    } else {
        first.name = identifier();
        if (skip_op(".")) first.attribute = identifier();
    }
    if (!with_tuple || !is_op(",")) return first;
    Target all;
    all.parts.push_back(std::move(first));
    while (skip_op(",")) {
        if (here().kind != TokenKind::name && !is_op("(")) break;
        if (is_name("in")) break;
        all.parts.push_back(target(false));
    }
    return all;
}

ExpressionPtr ExpressionParser::disjunction() {
    ExpressionPtr left = conjunction();
    while (skip_name("or")) {
        auto node = std::make_unique<Logical>();
        node->conjunction = false;
        node->left = std::move(left);
        node->right = conjunction();
        left = std::move(node);
    }
    return left;
}

ExpressionPtr ExpressionParser::conjunction() {
    ExpressionPtr left = negation();
    while (skip_name("and")) {
        auto node = std::make_unique<Logical>();
        node->left = std::move(left);
        node->right = negation();
        left = std::move(node);
    }
    return left;
}

ExpressionPtr ExpressionParser::negation() {
    const Nesting nesting(*this);
    if (!skip_name("not")) return comparison();
    auto node = std::make_unique<Not>();
    node->of = negation();
    return node;
}

ExpressionPtr ExpressionParser::comparison() {
    auto node = std::make_unique<Comparison>();
    node->first = sum();
    while (true) {
        std::string symbol;
        if (is_name("in")) {
            symbol = take().text;
        } else if (is_name("not") && tokens_[at_ + 1].kind == TokenKind::name && tokens_[at_ + 1].text == "in") {
            take();
            take();
            symbol = "not in";
        } else if (here().kind == TokenKind::op) {
            constexpr std::string_view kOps[] = {"==", "!=", "<=", ">=", "<", ">"};
            if (std::find(std::begin(kOps), std::end(kOps), here().text) != std::end(kOps)) symbol = take().text;
        }
        if (symbol.empty()) break;
        node->rest.emplace_back(find_operator(symbol), sum());
    }
    return node->rest.empty() ? std::move(node->first) : std::move(node);
}

ExpressionPtr ExpressionParser::chain(ExpressionPtr (ExpressionParser::*operand)(),
                                      std::initializer_list<std::string_view> ops) {
    ExpressionPtr left = (this->*operand)();
    while (here().kind == TokenKind::op && std::find(ops.begin(), ops.end(), here().text) != ops.end()) {
        auto node = std::make_unique<Binary>();
        node->function = find_operator(take().text);
        node->left = std::move(left);
        node->right = (this->*operand)();
        left = std::move(node);
    }
    return left;
}

ExpressionPtr ExpressionParser::sum() { return chain(&ExpressionParser::joined, {"+", "-"}); }
ExpressionPtr ExpressionParser::joined() { return chain(&ExpressionParser::product, {"~"}); }
ExpressionPtr ExpressionParser::product() { return chain(&ExpressionParser::power, {"*", "/", "//", "%"}); }
ExpressionPtr ExpressionParser::power() { return chain(&ExpressionParser::unary_with_filters, {"**"}); }

ExpressionPtr ExpressionParser::unary(bool with_filters) {
    const Nesting nesting(*this);
    ExpressionPtr value;
    if (is_op("-") || is_op("+")) {
        auto node = std::make_unique<Unary>();
        node->negative = take().text == "-";
        node->of = unary(false);
        value = std::move(node);
    } else {
        value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::primary() {
    switch (here().kind) {
        case TokenKind::name: {
            const std::string name = take().text;
            if (name == "true" || name == "True") return std::make_unique<Literal>(true);
            if (name == "false" || name == "False") return std::make_unique<Literal>(false);
            if (name == "none" || name == "None") return std::make_unique<Literal>(None{});
            return std::make_unique<Name>(name);
        }
        case TokenKind::string: return literal_text();
        case TokenKind::integer:
        case TokenKind::real: return number();
        default: break;
    }
    if (skip_op("(")) return in_parentheses();
    if (skip_op("[")) return list();
    if (skip_op("{")) return dict();
    refuse(fmt::format("expected an expression, got {}", written(here())));
}

ExpressionPtr ExpressionParser::literal_text() {
    std::string text;
    while (here().kind == TokenKind::string) text += take().text;
    return std::make_unique<Literal>(std::move(text));
}

ExpressionPtr ExpressionParser::number() {
    const LexToken token = here();
    const char* begin = token.text.data();
    const char* const end = begin + token.text.size();
    if (token.kind == TokenKind::real) {
        double value = 0;
        const auto read = std::from_chars(begin, end, value);
        if (read.ec != std::errc{} || read.ptr != end) refuse(fmt::format("'{}' is no number", shown(token.text)));
        take();
        return std::make_unique<Literal>(value);
    }
    int base = 10;
    if (token.text.size() > 1 && begin[0] == '0' && !(begin[1] >= '0' && begin[1] <= '9')) {
        base = (begin[1] | 0x20) == 'x' ? 16 : (begin[1] | 0x20) == 'o' ? 8 : 2;
        begin += 2;
    }
    int64_t value = 0;
    const auto read = std::from_chars(begin, end, value, base);
    if (read.ec != std::errc{} || read.ptr != end)
        refuse(fmt::format("'{}' is no number of 64 bits", shown(token.text)));
    take();
    return std::make_unique<Literal>(value);
}

ExpressionPtr ExpressionParser::in_parentheses() {
    if (skip_op(")")) {
        auto empty = std::make_unique<ListOf>();
        empty->tuple = true;
        return empty;
    }
    ExpressionPtr value = tuple();
    take_op(")");
    return value;
}

ExpressionPtr ExpressionParser::list() {
    auto node = std::make_unique<ListOf>();
    while (!skip_op("]")) {
        if (!node->items.empty()) take_op(",");
        if (skip_op("]")) break;
        node->items.push_back(expression());
    }
    return node;
}

ExpressionPtr ExpressionParser::dict() {
    auto node = std::make_unique<DictOf>();
    while (!skip_op("}")) {
        if (!node->items.empty()) take_op(",");
        if (skip_op("}")) break;
        ExpressionPtr key = expression();
        take_op(":");
        node->items.emplace_back(std::move(key), expression());
    }
    return node;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr of) {
    while (true) {
        if (skip_op(".")) {
            of = member(std::move(of));
        } else if (skip_op("[")) {
            of = subscript(std::move(of));
        } else if (skip_op("(")) {
            auto call = std::make_unique<Call>();
            call->function = std::move(of);
            call->arguments = arguments();
            of = std::move(call);
        } else {
            return of;
        }
    }
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr of) {
    while (true) {
        if (skip_op("|")) {
            of = filter(std::move(of));
        } else if (skip_name("is")) {
            of = test(std::move(of));
        } else if (is_op("(")) {
            of = postfix(std::move(of));
        } else {
            return of;
        }
    }
}

ExpressionPtr ExpressionParser::member(ExpressionPtr of) {
    if (here().kind == TokenKind::integer) {
        auto item = std::make_unique<Item>();
        item->of = std::move(of);
        item->key = number();
        return item;
    }
    auto node = std::make_unique<Attribute>();
    node->of = std::move(of);
    node->name = identifier();
    return node;
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr of) {
    ExpressionPtr parts[3];
    int n_colons = 0;
    while (!skip_op("]")) {
        if (skip_op(":")) {
            if (++n_colons > 2) refuse("a slice has at most three parts");
        } else if (parts[n_colons] == nullptr) {
            parts[n_colons] = expression();
        } else {
            refuse(fmt::format("expected ']', got {}", written(here())));
        }
    }
    if (n_colons == 0) {
        if (parts[0] == nullptr) refuse("expected what to take between '[' and ']'");
        auto item = std::make_unique<Item>();
        item->of = std::move(of);
        item->key = std::move(parts[0]);
        return item;
    }
    auto slice = std::make_unique<Slice>();
    slice->of = std::move(of);
    slice->begin = std::move(parts[0]);
    slice->end = std::move(parts[1]);
    slice->step = std::move(parts[2]);
    return slice;
}

ArgumentList ExpressionParser::arguments() {
    ArgumentList list;
    bool first = true;
    while (!skip_op(")")) {
        if (!first) take_op(",");
        first = false;
        if (skip_op(")")) break;
        if (skip_op("**")) {
            list.all_named = expression();
        } else if (skip_op("*")) {
            list.all_positional = expression();
        } else if (here().kind == TokenKind::name && tokens_[at_ + 1].kind == TokenKind::op &&
                   tokens_[at_ + 1].text == "=") {
            std::string name = take().text;
            take();
            list.named.emplace_back(std::move(name), expression());
        } else {
            if (!list.named.empty()) refuse("an argument without a name follows one with a name");
            list.positional.push_back(expression());
        }
    }
    return list;
}

std::unique_ptr<Apply> ExpressionParser::filter(ExpressionPtr in) {
    auto node = std::make_unique<Apply>();
    const std::string name = identifier();
    node->function = find_filter(name);
    if (node->function == nullptr) refuse(fmt::format("a filter '{}' is not known here", shown(name)));
    node->in = std::move(in);
    if (skip_op("(")) node->arguments = arguments();
    return node;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr of) {
    const bool negated = skip_name("not");
    auto node = std::make_unique<Apply>();
    const std::string name = identifier();
    node->function = find_test(name);
    if (node->function == nullptr) refuse(fmt::format("a test '{}' is not known here", shown(name)));
    node->in = std::move(of);
    const bool value_follows = here().kind == TokenKind::string || here().kind == TokenKind::integer ||
                               here().kind == TokenKind::real || is_op("[") || is_op("{");
    const bool name_follows = here().kind == TokenKind::name && !is_name("else") && !is_name("or") && !is_name("and") &&
                              !is_name("is") && !is_name("if") && !is_name("not") && !is_name("in") &&
                              !is_name("recursive");
    if (skip_op("(")) node->arguments = arguments();
    else if (value_follows || name_follows) node->arguments.positional.push_back(postfix(primary()));
    if (!negated) return node;
    auto inverse = std::make_unique<Not>();
    inverse->of = std::move(node);
    return inverse;
}

}  // namespace ggq::jinja
