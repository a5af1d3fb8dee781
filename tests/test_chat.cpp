// Conversations: which forms of data are read, which template a folder has, and which tokens carry loss.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "models/data_choice.h"
#include "models/text/chat_template.h"
#include "models/text/dataset.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/small_tokenizers.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::error_of;
using ggq::test::TempDir;
using ggq::test::write_file;
using nlohmann::ordered_json;

namespace {

Conversation conversation(const std::string& json) { return read_conversation(parse_ordered_json(json, "a.jsonl")); }

// The roles and texts of a conversation; an answer that carries loss in brackets.
std::string told(const Conversation& c) {
    std::string text;
    for (size_t i = 0; i < c.n_messages(); ++i) {
        const bool loss = std::find(c.loss_turns.begin(), c.loss_turns.end(), i) != c.loss_turns.end();
        const std::string content = c.messages.list()->items[i].dict()->find_name("content")->to_text().str();
        text += (i ? " " : "") + role_of(c, i).substr(0, 1) + (loss ? "[" + content + "]" : content);
    }
    return text;
}

ChatTemplate chatml() {
    return {
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>\n{% endfor %}{% if add_generation_prompt %}"
        "<assistant>{% endif %}",
        "t.jinja",
        {{"eos_token", "</s>"}}};
}

// The answers of a rendered text, each in its brackets.
std::string answers_of(const ChatTemplate& chat, const Conversation& c) {
    const ChatText text = chat.render(c, false);
    std::string out;
    for (const TextRange& r : text.answers) out += "[" + text.text.substr(r.begin, r.end - r.begin) + "]";
    return out;
}

const std::string kEnd = "</s>";

const char* const kTwoTurns =
    R"({"messages": [{"role": "user", "content": "q1"}, {"role": "assistant", "content": " a1 "},
        {"role": "user", "content": "a1"}, {"role": "assistant", "content": "a2"}]})";

}  // namespace

TEST_CASE("chat: every form of conversation") {
    CHECK(told(conversation(kTwoTurns)) == "uq1 a[ a1 ] ua1 a[a2]");
    CHECK(told(conversation(R"({"system": "s", "conversations": [{"from": "human", "value": "q"},
          {"from": "gpt", "value": "a"}, {"from": "observation", "value": "o"}, {"from": "function_call", "value": "f"}]})")) ==
          "ss uq a[a] to a[f]");
    CHECK(told(conversation(R"({"prompt": [{"role": "assistant", "content": "h"}, {"role": "user", "content": "q"}],
          "completion": [{"role": "assistant", "content": "a"}]})")) == "ah uq a[a]");
    CHECK(told(conversation(R"({"messages": [{"role": "assistant", "content": "a", "weight": 0},
          {"role": "assistant", "content": "b", "train": true}]})")) == "aa a[b]");
    CHECK(told(single_turn("s", "q", nullptr)) == "ss uq");
}

TEST_CASE("chat: what is no conversation is refused with the number of its message") {
    check_contains(error_of([] { conversation(R"({"messages": []})"); }), "the conversation has no message");
    check_contains(error_of([] { conversation(R"({"messages": [{"role": "user"}]})"); }),
                   "message 1: expected content");
    check_contains(error_of([] { conversation(R"({"messages": [{"content": "x"}]})"); }),
                   "message 1: expected a text under 'role', got nothing");
    check_contains(error_of([] { conversation(R"({"conversations": [{"from": "alien", "value": "x"}]})"); }),
                   "message 1: from 'alien' is not known");
    check_contains(
        error_of([] { conversation(R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})"); }),
        "only parts of type text are read");
    check_contains(
        error_of([] { conversation(R"({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]})"); }),
        "message 1: weight is 0 or 1");
}

TEST_CASE("chat: answers are found by whose words they are, not by what they say") {
    CHECK(answers_of(chatml(), conversation(kTwoTurns)) == "[a1][a2]");
    // An answer that is said by the question too, an empty one, and one of the template's own words.
    CHECK(answers_of(chatml(), single_turn("", "</s>", &kEnd)) == "[</s>]");
    const ChatTemplate marked(
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% "
        "endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        "t.jinja", {});
    CHECK(answers_of(marked, conversation(kTwoTurns)) == "[ a1 !][a2!]");
    CHECK(answers_of(marked, conversation(R"({"messages": [{"role": "assistant", "content": "x", "weight": 0},
          {"role": "assistant", "content": "y"}]})")) == "[y!]");
    // What an answer is led into by the template, and generation is not, is part of the answer.
    const ChatTemplate thinking(
        "{% for m in messages %}<{{ m.role }}>{% if m.thought %}<think>{{ m.thought }}</think>{% "
        "endif %}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% "
        "endif %}",
        "t.jinja", {});
    CHECK(answers_of(thinking, conversation(R"({"messages": [{"role": "user", "content": "q"},
          {"role": "assistant", "thought": "hm", "content": "a"}]})")) == "[<think>hm</think>a]");
}

TEST_CASE("chat: a folder's template, wherever it has it") {
    const TempDir folder;
    const auto text = [&] { return ChatTemplate::of_folder(folder.path())->render(single_turn("", "q"), true).text; };
    CHECK_FALSE(ChatTemplate::of_folder(folder.path()).has_value());
    write_file(folder / "tokenizer_config.json",
               R"({"bos_token": {"content": "<s>"}, "chat_template": "a{{ bos_token }}"})");
    CHECK(text() == "a<s>");
    write_file(folder / "tokenizer_config.json",
               R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
    CHECK(text() == "d");
    Conversation with_tools = single_turn("", "q");
    with_tools.tools = jinja::Value::list({"tool"});
    CHECK(ChatTemplate::of_folder(folder.path())->render(with_tools, true).text == "t");
    write_file(folder / "chat_template.json", R"({"chat_template": "j"})");
    CHECK(text() == "j");
    write_file(folder / "chat_template.jinja", "f{{ messages[0].content }}");
    CHECK(text() == "fq");
    check_contains(error_of([&] { ChatTemplate::named("nothing", folder.path()); }), "known are chatml, llama2");
    check_contains(error_of([&] { ChatTemplate::chosen("", "", "/tmp"); }), "/tmp has no chat template");
}

TEST_CASE("chat: named templates are those that models were taught") {
    const auto fixtures = test::fixtures();
    const fs::path file = fixtures ? *fixtures / "data/chat-templates/ollama_rendered_prompts.json" : fs::path();
    if (!fixtures || !fs::exists(file)) return test::skipped("data/chat-templates is absent");
    const TempDir folder;
    write_file(folder / "tokenizer_config.json", R"({"eos_token": "</s>", "bos_token": ""})");
    for (const ordered_json& item : parse_ordered_json(read_text_file(file), "prompts")["cases"]) {
        if (!item["jinja_renders_same"].get<bool>()) continue;
        std::string name = item["family"];
        if (name == "llama3-instruct") name = "llama3";
        CAPTURE(name);
        const Conversation asked = read_conversation(item);
        CHECK(ChatTemplate::named(name, folder.path()).render(asked, true).text ==
              item["expected_prompt"].get<std::string>());
    }
}

namespace {

Dataset load_chat(const std::string& line, const ChatTemplate& chat, DataOptions options = {}) {
    static const Tokenizer tokenizer = test::byte_tokenizer();
    const TempDir folder;
    write_file(folder / "data.jsonl", line);
    options.chat = [&] { return chat; };
    return load_dataset(folder / "data.jsonl", tokenizer, 302, options);
}

// The text of the tokens that carry loss; BOS is ^, EOS $.
std::string with_loss(const Sample& sample) {
    std::string text;
    for (size_t i = 0; i < sample.ids.size(); ++i)
        if (sample.has_loss[i])
            text += sample.ids[i] == 300 ? '^' : sample.ids[i] == 301 ? '$' : static_cast<char>(sample.ids[i]);
    return text;
}

std::string one_line(std::string json) {
    std::replace(json.begin(), json.end(), '\n', ' ');
    return json;
}

}  // namespace

TEST_CASE("chat: loss is on the answers and the tokens that end them") {
    const std::string line = one_line(kTwoTurns);
    DataOptions last_only;
    last_only.last_answer_only = true;
    CHECK(with_loss(load_chat(line, chatml()).train[0]) == "a1$a2$");
    CHECK(with_loss(load_chat(line, chatml(), last_only).train[0]) == "a2$");
    const ChatTemplate open("{% for m in messages %}({{ m.content }}){% endfor %}", "t.jinja", {});
    const Dataset without_end = load_chat(line, open);
    CHECK(with_loss(without_end.train[0]) == " a1 a2$");
    CHECK(without_end.report.open_answers == 2);
    CHECK(warnings_of(without_end.report)[0].find("2 of 2 answers are ended by no special token") == 0);
    // The template writes BOS: there is one.
    const ChatTemplate bos("<s>{% for m in messages %}{{ m.content }}</s>{% endfor %}", "t.jinja", {});
    const Dataset with_bos = load_chat(line, bos);
    CHECK(with_bos.train[0].ids[0] == 300);
    CHECK(with_bos.train[0].ids[1] == 'q');
    CHECK(with_bos.report.double_bos == 0);
}

TEST_CASE("chat: data of other forms goes through a chat template where one is asked for") {
    DataOptions asked;
    asked.records.form = "chat";
    const std::string alpaca = R"({"instruction": "do", "input": "x", "output": "done"})";
    const Sample sample = load_chat(alpaca, chatml(), asked).train[0];
    CHECK(with_loss(sample) == "done$");
    CHECK(show_sample(sample, test::byte_tokenizer()).find("<user>do\n\nx") == 0);
    CHECK(with_loss(load_chat(R"({"prompt": "p", "completion": "c"})", chatml(), asked).train[0]) == "c$");
}
