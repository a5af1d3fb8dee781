// Templates against what Jinja2 itself renders: a file of small ones for every construct, the chat templates of models,
// and what is refused, and where.
#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "models/jinja/render.h"
#include "models/jinja/template.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::error_of;
using jinja::Dict;
using jinja::Mark;
using jinja::Template;
using jinja::Text;
using jinja::Value;
using nlohmann::ordered_json;

namespace {

constexpr std::time_t kNow = 1721995200;  // 2024-07-26, noon, UTC

Dict variables_of(const ordered_json& json) {
    Dict variables;
    for (const auto& [name, value] : json.items()) variables.set(name, jinja::from_json(value));
    return variables;
}

std::string rendered(const std::string& source, const Dict& variables = {}) {
    return Template(source, "t.jinja").render(variables, kNow).str();
}

// What it renders to, or what is said of it.
std::string outcome(const std::string& source, const Dict& variables = {}) {
    try {
        return rendered(source, variables);
    } catch (const Error& error) {
        return std::string("error: ") + error.what();
    }
}

ordered_json read(const fs::path& file) { return parse_ordered_json(read_text_file(file), file.string()); }

void check_case(const ordered_json& item, const Dict& variables) {
    const std::string source = item["template"];
    CAPTURE(source);
    const std::string got = outcome(source, variables);
    if (item.contains("expected") && item["expected"].is_string()) CHECK(got == item["expected"].get<std::string>());
    else CHECK(got.substr(0, 7) == "error: ");
}

std::vector<Mark> marks_of(const std::string& source, const Dict& variables) {
    return Template(source, "t.jinja").render(variables, kNow).marks();
}

}  // namespace

TEST_CASE("jinja: every construct renders as Jinja2 renders it") {
    const ordered_json all = read(test::source_dir() / "tests/fixtures/jinja/cases.json");
    const Dict variables = variables_of(all["variables"]);
    for (const ordered_json& item : all["cases"]) check_case(item, variables);
}

TEST_CASE("jinja: chat templates of models, to the byte") {
    const auto fixtures = test::fixtures();
    const fs::path folder = fixtures ? *fixtures / "data/chat-templates" : fs::path();
    if (!fixtures || !fs::exists(folder)) return test::skipped("data/chat-templates is absent");
    for (const auto& entry : fs::directory_iterator(folder)) {
        if (entry.path().extension() != ".json") continue;
        const ordered_json all = read(entry.path());
        for (ordered_json item : all["cases"]) {
            if (!item.contains("template") && !item.contains("template_file")) continue;
            if (item.contains("template_file"))
                item["template"] = read_text_file(folder / item["template_file"].get<std::string>());
            Dict variables = variables_of(item);
            if (all.contains("messages")) variables.set("messages", jinja::from_json(all["messages"]));
            check_case(item, variables);
        }
    }
}

TEST_CASE("jinja: an error names template and line, and says what is wrong") {
    const std::map<std::string, std::string> refused = {
        {"a\nb {{ x", "t.jinja line 2: a tag is not closed with }}"},
        {"{% if x %}\n\n", "t.jinja line 2: 'endif' is missing"},
        {"\n{% include 'x' %}", "t.jinja line 2: a tag 'include' is not known here"},
        {"{{ 1|nothing }}", "t.jinja line 1: a filter 'nothing' is not known here"},
        {"{{ 1 is nothing }}", "a test 'nothing' is not known here"},
        {"x\n{% for a in b %}{{ a }}{% endfor %}", "t.jinja line 2: 'b' is undefined"},
        {"{{ messages.append(1) }}", "'messages' is undefined"},
        {"{% set a = [] %}{{ a.append(1) }}", "may not change lists and dicts"},
        {"\n\n{{ raise_exception('Roles!') }}", "t.jinja line 3: the template refuses this: Roles!"},
        {"{{ 'a' + 1 }}", "str and int cannot be added"},
        {"{% break %}", "there is no loop around this"},
        {"{{ 99999999999999999999 }}", "is no number of 64 bits"},
        {"{{ 9223372036854775807 + 1 }}", "a whole number beyond 64 bits"},
    };
    for (const auto& [source, error] : refused) {
        CAPTURE(source);
        check_contains(error_of([&, &text = source] { rendered(text); }), error);
    }
}

TEST_CASE("jinja: what runs away is ended") {
    const std::map<std::string, std::string> endless = {
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself more than"},
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes more than"},
        {"{% set x = 'aaaaaaaaaaaaaaaa' * 1000000 %}{% for i in range(99) %}{{ x }}{% endfor %}",
         "makes a text of more"},
        {"{{ 'a' * 99999999999 }}", "is too much"},
        {"{{ " + std::string(10000, '(') + std::string(10000, ')') + " }}", "levels within each other"},
        {"{{ " + std::string(10000, '[') + std::string(10000, ']') + " }}", "levels within each other"},
        {"{{ " + std::string(10000, '-') + "1 }}", "levels within each other"},
    };
    for (const auto& [source, error] : endless) {
        CAPTURE(source.substr(0, 80));
        check_contains(error_of([&, &text = source] { rendered(text); }), error);
    }
}

TEST_CASE("jinja: words keep their source through whatever a template does with them") {
    Dict v;
    v.set("a", Text("  one ", 1));
    v.set("b", Text("two", 2));
    CHECK(marks_of("x{{ a }}y{{ b }}", v) == std::vector<Mark>{{1, 7, 1}, {8, 11, 2}});
    CHECK(marks_of("{{ a | trim ~ '-' ~ b }}", v) == std::vector<Mark>{{0, 3, 1}, {4, 7, 2}});
    CHECK(marks_of("{{ b[1:] }}{{ b.upper() }}", v) == std::vector<Mark>{{0, 5, 2}});
    CHECK(marks_of("{% macro m(t) %}<{{ t }}>{% endmacro %}{% set x %}{{ m(b) }}!{% endset %}{{ x }}", v) ==
          std::vector<Mark>{{1, 4, 2}});
    CHECK(marks_of("{{ {'k': b}|tojson }}", v) == std::vector<Mark>{{7, 10, 2}});
    CHECK(marks_of("{{ '%s and %s' % (a, b) }}", v) == std::vector<Mark>{{0, 6, 1}, {11, 14, 2}});
    CHECK(marks_of("{{ a }}{% generation %}{{ b }}!{% endgeneration %}", v) ==
          std::vector<Mark>{{0, 6, 1}, {6, 10, jinja::kGenerated}});
}
