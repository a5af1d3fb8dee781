// Expressions and statements of a template, by Jinja's grammar and precedence.
#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/expression_parser.h"
#include "models/jinja/lexer.h"

namespace ggq::jinja {

namespace {

class Parser : public ExpressionParser {
public:
    using ExpressionParser::ExpressionParser;

    Block whole() {
        Block block = block_until({});
        if (!at_end()) refuse("this ends nothing that was begun");
        return block;
    }

private:
    using Words = std::initializer_list<std::string_view>;

    // Up to a tag that begins with one of the words, whose begin is taken and whose word is next.
    Block block_until(Words ends) {
        const Nesting nesting(*this);
        Block block;
        block.name = template_name();
        while (!at_end()) {
            const int line = here().line;
            if (here().kind == TokenKind::text) {
                block.lines.push_back({line, std::make_unique<PlainText>(take().text)});
            } else if (here().kind == TokenKind::print_begin) {
                take();
                auto print = std::make_unique<Print>();
                print->value = tuple();
                take_kind(TokenKind::print_end, "}}");
                block.lines.push_back({line, std::move(print)});
            } else {
                take();  // {%
                for (const std::string_view end : ends)
                    if (is_name(end)) return block;
                block.lines.push_back({line, statement()});
            }
        }
        if (ends.size() > 0) refuse(fmt::format("'{}' is missing", *(ends.end() - 1)));
        return block;
    }

    void end_tag() { take_kind(TokenKind::block_end, "%}"); }
    void end_tag(std::string_view word) {
        take_name(word);
        end_tag();
    }

    // The body of a tag: to `end`, which is taken.
    Block body(std::string_view end) {
        end_tag();
        Block block = block_until({end});
        end_tag(end);
        return block;
    }

    std::unique_ptr<Statement> statement() {
        if (here().kind != TokenKind::name) refuse("a tag begins with a word");
        const std::string word = here().text;
        struct Row {
            std::string_view word;
            std::unique_ptr<Statement> (Parser::*parse)();
        };
        static constexpr Row kRows[] = {
            {"if", &Parser::if_tag},       {"for", &Parser::for_tag},           {"set", &Parser::set_tag},
            {"macro", &Parser::macro_tag}, {"call", &Parser::call_tag},         {"filter", &Parser::filter_tag},
            {"with", &Parser::with_tag},   {"block", &Parser::block_tag},       {"generation", &Parser::generation_tag},
            {"break", &Parser::break_tag}, {"continue", &Parser::continue_tag}, {"autoescape", &Parser::autoescape_tag},
        };
        for (const Row& row : kRows) {
            if (row.word != word) continue;
            take();
            return (this->*row.parse)();
        }
        refuse(fmt::format("a tag '{}' is not known here", shown(word)));
    }

    std::unique_ptr<Statement> if_tag() {
        auto node = std::make_unique<If>();
        do {
            ExpressionPtr condition = tuple(false);
            end_tag();
            Block block = block_until({"elif", "else", "endif"});
            node->branches.emplace_back(std::move(condition), std::move(block));
        } while (skip_name("elif"));
        if (skip_name("else")) {
            end_tag();
            node->otherwise = block_until({"endif"});
        }
        end_tag("endif");
        return node;
    }

    std::unique_ptr<Statement> for_tag() {
        auto node = std::make_unique<For>();
        node->target = target(true);
        take_name("in");
        node->over = tuple(false, "recursive");
        if (skip_name("if")) node->condition = expression();
        node->recursive = skip_name("recursive");
        end_tag();
        ++loops_;
        node->body = block_until({"else", "endfor"});
        --loops_;
        if (skip_name("else")) {
            end_tag();
            node->otherwise = block_until({"endfor"});
        }
        end_tag("endfor");
        return node;
    }

    std::unique_ptr<Statement> set_tag() {
        Target to = target(true);
        if (skip_op("=")) {
            auto node = std::make_unique<Set>();
            node->target = std::move(to);
            node->value = tuple();
            end_tag();
            return node;
        }
        auto node = std::make_unique<SetBlock>();
        node->target = std::move(to);
        node->filters = filter_chain(false);
        node->body = body("endset");
        return node;
    }

    std::unique_ptr<Statement> filter_tag() {
        auto node = std::make_unique<FilterBlock>();
        node->filters = filter_chain(true);
        node->body = body("endfilter");
        return node;
    }

    std::vector<std::unique_ptr<Apply>> filter_chain(bool begun) {
        std::vector<std::unique_ptr<Apply>> filters;
        while (begun || skip_op("|")) {
            begun = false;
            filters.push_back(filter(nullptr));
        }
        return filters;
    }

    Signature signature(std::string name) {
        Signature signature;
        signature.name = std::move(name);
        take_op("(");
        while (!skip_op(")")) {
            if (!signature.parameters.empty()) take_op(",");
            if (skip_op(")")) break;
            std::string parameter = identifier();
            ExpressionPtr fallback = skip_op("=") ? expression() : nullptr;
            signature.parameters.emplace_back(std::move(parameter), std::move(fallback));
        }
        return signature;
    }

    std::unique_ptr<Statement> macro_tag() {
        auto node = std::make_unique<Macro>();
        node->signature = signature(identifier());
        node->signature.body = body("endmacro");
        return node;
    }

    std::unique_ptr<Statement> call_tag() {
        auto node = std::make_unique<CallBlock>();
        if (here().kind == TokenKind::op && here().text == "(") node->caller = signature("caller");
        node->caller.name = "caller";
        ExpressionPtr called = expression();
        if (dynamic_cast<Call*>(called.get()) == nullptr) refuse("{% call %} needs the call of a macro");
        node->call.reset(static_cast<Call*>(called.release()));
        node->caller.body = body("endcall");
        return node;
    }

    std::unique_ptr<Statement> with_tag() {
        auto node = std::make_unique<With>();
        while (here().kind != TokenKind::block_end) {
            if (!node->values.empty()) take_op(",");
            Target to = target(false);
            take_op("=");
            node->values.emplace_back(std::move(to), expression());
        }
        node->body = body("endwith");
        return node;
    }

    // Without another template to extend, a block is what stands in it.
    std::unique_ptr<Statement> block_tag() {
        identifier();
        skip_name("scoped");
        auto node = std::make_unique<With>();
        end_tag();
        node->body = block_until({"endblock"});
        take_name("endblock");
        if (here().kind == TokenKind::name) take();
        end_tag();
        return node;
    }

    std::unique_ptr<Statement> autoescape_tag() {
        if (!skip_name("false") && !skip_name("False")) refuse("only {% autoescape false %} is known here");
        auto node = std::make_unique<With>();
        node->body = body("endautoescape");
        return node;
    }

    std::unique_ptr<Statement> generation_tag() {
        auto node = std::make_unique<Generation>();
        node->body = body("endgeneration");
        return node;
    }

    std::unique_ptr<Statement> jump(Flow flow) {
        if (loops_ == 0) refuse("there is no loop around this");
        end_tag();
        return std::make_unique<Jump>(flow);
    }
    std::unique_ptr<Statement> break_tag() { return jump(Flow::break_loop); }
    std::unique_ptr<Statement> continue_tag() { return jump(Flow::next_turn); }

    int loops_ = 0;  // around what is read
};

}  // namespace

Block parse(std::string_view source, const std::string& name) { return Parser(tokens_of(source, name), name).whole(); }

}  // namespace ggq::jinja
