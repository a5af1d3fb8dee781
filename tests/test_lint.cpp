// What --lint finds: each kind of fault in a file that has it, nothing in one that has none.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/lint/lint.h"
#include "models/lint/record_checks.h"
#include "models/text/named_templates.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/small_tokenizers.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

using Kinds = std::vector<LintKind>;

LintReport lint_of(const Workplace& place, const std::string& data, const std::string& validation = "",
                   const std::function<void(TrainOptions&)>& change = {}) {
    TrainOptions options = place.options(1);
    options.data = place / "lint.jsonl";
    write_text(options.data, data);
    if (!validation.empty()) write_text(options.val_data = place / "val.jsonl", validation);
    if (change) change(options);
    return lint(options, {});
}

Kinds kinds_of(const LintReport& report) {
    Kinds kinds;
    for (const LintFinding& f : report.findings) kinds.push_back(f.kind);
    return kinds;
}

// A text is told by its kind, without the place.
std::string only_finding(const LintReport& report, LintKind kind) {
    CHECK(kinds_of(report) == Kinds{kind});
    return report.findings.empty() ? "" : report.findings[0].text;
}

std::string chat(const std::vector<std::pair<const char*, const char*>>& turns) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (const auto& [role, content] : turns) messages.push_back({{"role", role}, {"content", content}});
    return nlohmann::ordered_json{{"messages", messages}}.dump() + "\n";
}

void as_vicuna(TrainOptions& options) { options.template_name = "vicuna"; }  // whose marks are plain words

const std::string kGood = R"({"prompt": "Who likes Tom? ", "completion": "Lily likes Tom."})"
                          "\n";

}  // namespace

TEST_CASE("lint: the table has a row for each kind, in its order") {
    for (size_t i = 0; i < kLintKinds.size(); ++i) CHECK(static_cast<size_t>(kLintKinds[i].kind) == i);
}

TEST_CASE("lint: nothing is found in good data") {
    const Workplace place;
    const LintReport report = lint_of(place, sample_lines(20), sample_lines(5, 100));
    CHECK(kinds_of(report).empty());
    CHECK(report.records == 25);
    CHECK(report.samples == 25);
    CHECK(report.label_tokens > 0);
    const std::string last = describe(report).back();
    check_contains(last, "25 records, 25 samples, ");
    check_contains(last, ": 0 errors, 0 warnings");
    CHECK(kinds_of(lint_of(place, chat({{"user", "Hi"}, {"assistant", "Hello"}}), "", as_vicuna)).empty());
}

TEST_CASE("lint: records that cannot be read are named, and the rest is looked at") {
    const Workplace place;
    const LintReport report = lint_of(place, kGood + "{\"prompt\": 5, \"completion\": \"x\"}\n{\n" +
                                                 R"({"prompt": "a", "completion": " "})"
                                                 "\n");
    CHECK(kinds_of(report) == Kinds{LintKind::unreadable, LintKind::unreadable, LintKind::empty_answer});
    check_contains(report.findings[0].text, "lint.jsonl: line 2: expected prompt to be a text");
    check_contains(report.findings[1].text, "lint.jsonl: broken JSON on line 3: ");
    CHECK(report.findings[2].place.ends_with("lint.jsonl: line 4"));
    CHECK(report.records == 4);
    CHECK(report.n_errors() == 3);
    CHECK(lint_of(place, "{\n{\n").count(LintKind::unreadable) >= 2);
}

TEST_CASE("lint: answers that are empty, cut away or never ended") {
    const Workplace place;
    CHECK(only_finding(lint_of(place, R"({"prompt": "a", "completion": ""})"), LintKind::empty_answer) ==
          "the answer is empty");
    const auto empty =
        lint_of(place, chat({{"user", "a"}, {"assistant", ""}, {"user", "b"}, {"assistant", "c"}}), "", as_vicuna);
    CHECK(empty.count(LintKind::empty_answer) == 1);
    const std::string longer = R"({"prompt": ")" + std::string(200, 'x') + R"(", "completion": "y"})" + "\n";
    const auto at_most = [](OnLong on_long) {
        return [on_long](TrainOptions& o) {
            o.max_length = 64;
            o.on_long = on_long;
        };
    };
    CHECK(kinds_of(lint_of(place, kGood + longer, "", at_most(OnLong::drop))) == Kinds{LintKind::too_long});
    CHECK(kinds_of(lint_of(place, kGood + longer, "", at_most(OnLong::cut_right))) == Kinds{LintKind::no_label});
    const std::string answer = R"({"prompt": "y", "completion": ")" + std::string(200, 'x') + "\"}\n";
    CHECK(kinds_of(lint_of(place, kGood + answer, "", at_most(OnLong::cut_right))) == Kinds{LintKind::cut});
    CHECK(kinds_of(lint_of(place, kGood + answer, "", at_most(OnLong::cut_left))).empty());
    write_text(place / "open.jinja", "{% for m in messages %}{{ m.content }}!\n{% endfor %}");
    const auto open = lint_of(place, chat({{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}}), "",
                              [&](TrainOptions& o) { o.chat_template = place / "open.jinja"; });
    CHECK(open.count(LintKind::open_answer) == 1);
}

TEST_CASE("lint: BOS and EOS that stand twice, and special tokens in the words") {
    const Workplace place;
    write_text(place / "twice.jinja",
               "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    const auto twice = [&](TrainOptions& o) { o.chat_template = place / "twice.jinja"; };
    const LintReport bos = lint_of(place, chat({{"user", "a"}, {"assistant", "b"}}), "", twice);
    CHECK(bos.count(LintKind::double_bos) == 1);
    const LintReport eos = lint_of(place, chat({{"user", "a"}, {"assistant", "b</s>"}}), "", as_vicuna);
    CHECK(eos.count(LintKind::double_end) == 1);
    CHECK(eos.count(LintKind::special_text) == 1);
    const LintReport words = lint_of(place, R"({"prompt": "a <s> b", "completion": "c <|im_end|> [INST]"})");
    CHECK(kinds_of(words) == Kinds{LintKind::special_text, LintKind::unknown_special, LintKind::unknown_special});
    CHECK(words.findings[1].text == "'<|im_end|>' in the text is no token of this tokenizer");
    CHECK(words.n_errors() == 0);
}

TEST_CASE("lint: turns in a wrong order") {
    const auto wrong = [](const std::vector<std::string>& roles) {
        Conversation c;
        for (const std::string& role : roles) c = with_message(c, role, "x");
        return wrong_turn(c).value_or("right");
    };
    CHECK(wrong({"system", "user", "assistant", "user", "assistant"}) == "right");
    CHECK(wrong({"user", "assistant", "tool", "assistant"}) == "right");
    CHECK(wrong({"user", "user", "assistant"}) == "message 2 is of user, and so is the one before");
    CHECK(wrong({"user", "assistant", "assistant"}) == "message 3 is of assistant, and so is the one before");
    CHECK(wrong({"assistant"}) == "message 1 is of assistant, expected user to begin");
    CHECK(wrong({"user", "system", "assistant"}) == "message 2 is of system, which can only be the first");
    CHECK(wrong({"user"}) == "the last message is of user, no answer follows");
    const Workplace place;
    CHECK(lint_of(place, chat({{"user", "a"}, {"user", "b"}, {"assistant", "c"}}), "", as_vicuna)
              .count(LintKind::turn_order) == 1);
}

TEST_CASE("lint: the same twice, and validation data that is trained on") {
    const Workplace place;
    const std::string twin = only_finding(lint_of(place, kGood + sample_line(3) + kGood), LintKind::duplicate);
    check_contains(twin, "the same as ");
    check_contains(twin, "lint.jsonl: line 1");
    const LintReport both = lint_of(place, sample_lines(5), sample_line(9) + sample_line(2));
    check_contains(only_finding(both, LintKind::overlap), "is in the training data: ");
    CHECK(both.findings[0].place.ends_with("val.jsonl: line 2"));
    CHECK(both.n_errors() == 1);
}

TEST_CASE("lint: another prompt than a generation has") {
    const Workplace place;
    write_text(place / "other.jinja",
               "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
               "{% if add_generation_prompt %}<bot>{% endif %}");
    const auto other = [&](TrainOptions& o) { o.chat_template = place / "other.jinja"; };
    const LintReport report = lint_of(place, chat({{"user", "a"}, {"assistant", "b"}}), "", other);
    REQUIRE(report.count(LintKind::prompt_mismatch) == 1);
    check_contains(describe(report)[0],
                   "prompt-mismatch: a generation is asked with 'bot>' where the text that is "
                   "trained on has 'assistant>b</s>'");
}

TEST_CASE("lint: a special token that the base never learned, and a template that it was not taught") {
    const Workplace place;
    const auto model = place.copy_of_model();
    write_text(model / "chat_template.jinja", named_template("chatml"));
    const auto with_model = [&](TrainOptions& o) { o.base.model = model; };
    CHECK(lint_of(place, kGood, "", with_model).count(LintKind::other_template) == 1);
    const LintReport marks = lint_of(place, chat({{"user", "a"}, {"assistant", "b"}}), "", with_model);
    CHECK(marks.count(LintKind::unknown_special) == 2);  // <|im_start|> and <|im_end|>
    CHECK(marks.findings.back().text == "'<|im_end|>' in the chat template is no token of this tokenizer");
}

TEST_CASE("lint: the program prints findings, a table and a sum, or JSON, and fails where there are errors") {
    const Workplace place;
    const std::filesystem::path data = place / "bad.jsonl";
    write_text(data, kGood + kGood + R"({"prompt": "a", "completion": ""})");
    const std::vector<std::string> args = {"-m", place.model, "-d", data, "--max-length", "64", "--lint", "--quiet"};
    const ProgramRun run = run_binary("train", args);
    CHECK(run.code == 1);
    CHECK(run.err == "");
    CHECK(run.out.starts_with(data.string() + ": line 2: duplicate: the same as " + data.string() + ": line 1\n" +
                              data.string() +
                              ": line 3: empty-answer: the answer is empty\n\nempty-answer     error "));
    check_contains(run.out, "1 errors, 1 warnings\n");
    std::vector<std::string> json = args;
    json.emplace_back("--json");
    const auto report = nlohmann::json::parse(run_binary("train", json).out);
    CHECK(report["counts"] == nlohmann::json{{"empty-answer", 1}, {"duplicate", 1}});
    CHECK(report["findings"][1]["place"] == data.string() + ": line 3");
    CHECK(report["errors"] == 1);
    write_text(data, kGood + kGood);
    CHECK(run_binary("train", args).code == 0);
    CHECK_FALSE(std::filesystem::exists(place.out));
}

}  // namespace ggq::test
