// A conversation at the terminal: only what is new is run, commands, and what is said where there is no room; and
// prompts that are conversations, and biases on logits.
#include <doctest/doctest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "models/generate/chat.h"
#include "models/generate/prompt_lines.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

using Lines = std::vector<std::string>;

struct Talk {
    GenerateResult result;
    std::string said, notes, warnings;
};

GenerateOptions chat_options(const Workplace& place, int64_t max_new_tokens = 12) {
    GenerateOptions options = greedy(place.model, "");
    options.chat = true;
    options.template_name = "chatml";
    options.max_new_tokens = max_new_tokens;
    return options;
}

Talk talk(const GenerateOptions& options, const Lines& lines, int stop_after = -1) {
    Talk seen;
    size_t at = 0;
    int n_tokens = 0;
    GenerateEvents events;
    events.note = [&](const std::string& line) { seen.notes += line + "\n"; };
    events.warning = [&](const std::string& line) { seen.warnings += line + "\n"; };
    events.text = [&](const std::string& piece) { seen.said += piece; };
    events.ask = [&]() -> std::optional<std::string> {
        n_tokens = 0;
        return at < lines.size() ? std::optional(lines[at++]) : std::nullopt;
    };
    events.stop_answer = [&] { return stop_after >= 0 && ++n_tokens > stop_after; };
    seen.result = run_generation(options, events);
    return seen;
}

}  // namespace

TEST_CASE("chat: what was said is in the cache, and the answers are those of the whole conversation") {
    const Workplace place;
    const GenerateOptions options = chat_options(place);
    const Talk both = talk(options, {"Who likes Tom?", "And the dog?"});
    CHECK(both.result.n_prompts == 2);
    const Talk first = talk(options, {"Who likes Tom?"});
    CHECK(both.said.starts_with(first.said));
    // The second answer as a batch line with all messages, which nothing is in the cache of.
    std::string said = first.said;
    said.pop_back();
    const nlohmann::ordered_json line = {{"messages",
                                          {{{"role", "user"}, {"content", "Who likes Tom?"}},
                                           {{"role", "assistant"}, {"content", said}},
                                           {{"role", "user"}, {"content", "And the dog?"}}}}};
    write_text(place / "p.jsonl", line.dump());
    GenerateOptions alone = chat_options(place);
    alone.chat = false;
    alone.batch = place / "p.jsonl";
    std::string answer;
    int64_t n_prompt = 0;
    GenerateEvents events;
    events.line = [&](const std::string& text) {
        answer = nlohmann::json::parse(text)["text"];
        n_prompt = nlohmann::json::parse(text)["prompt_tokens"];
    };
    run_generation(alone, events);
    CHECK(both.said == first.said + answer + "\n");
    // Run was the first prompt, and of the second less than half.
    CHECK(both.result.prompt_tokens < first.result.prompt_tokens + n_prompt / 2);
}

TEST_CASE("chat: commands") {
    const Workplace place;
    const GenerateOptions options = chat_options(place, 6);
    const Talk plain = talk(options, {"Who likes Tom?"});
    const Talk again = talk(options, {"Hello", "/reset", "Who likes Tom?", "/exit", "never said"});
    CHECK(again.said.ends_with("\n" + plain.said));
    CHECK(again.result.n_prompts == 2);
    check_contains(again.notes, "a new conversation\n");
    // What was forgotten was longer, and of none of it may the cache be used.
    const Talk after_long =
        talk(options, {"Once there was a little red fish, and every day it sang to the big dog of the "
                       "sea, the sun and all the bright stars above the house.",
                       "/reset", "Who likes Tom?"});
    CHECK(after_long.said.ends_with("\n" + plain.said));
    GenerateOptions of_system = options;
    of_system.system = "Be brief.";
    CHECK(talk(options, {"/system Be brief.", "Who likes Tom?"}).said == talk(of_system, {"Who likes Tom?"}).said);
    const Talk odd = talk(options, {"", "  ", "/what", "/help"});
    CHECK(odd.said == "");
    CHECK(odd.warnings == "/what is no command\n");
    check_contains(odd.notes, "/reset forgets what was said");
    GenerateOptions first = options;
    first.prompt = "Who likes Tom?";
    CHECK(talk(first, {}).said == plain.said);
    CHECK(talk(options, {"Who likes\\", "Tom?"}).said == talk(options, {"Who likes\nTom?"}).said);
    CHECK(talk(options, {"//x"}).said == [&] {
        first.prompt = "/x";
        return talk(first, {"/exit"}).said;
    }());
}

TEST_CASE("chat: an answer that is stopped stays, and the conversation goes on") {
    const Workplace place;
    const Talk whole = talk(chat_options(place), {"Who likes Tom?"});
    const Talk stopped = talk(chat_options(place), {"Who likes Tom?", "And?"}, 3);
    CHECK(stopped.result.n_prompts == 2);
    const std::string first = stopped.said.substr(0, stopped.said.find('\n'));
    CHECK(whole.said.starts_with(first));
    CHECK(first.size() < whole.said.size());
}

TEST_CASE("chat: no room is said, and what had none is not taken") {
    const Workplace place;
    GenerateOptions options = chat_options(place, 100);
    options.max_length = 80;
    const Talk full = talk(options, {"Hi", std::string(200, 'x'), "/reset", "Hi"});
    check_contains(full.warnings, "the conversation has ");
    check_contains(full.warnings,
                   " tokens with this message and the context holds 80; /reset begins a new one, and "
                   "`max_length` gives more room");
    CHECK(full.result.n_prompts >= 2);
    options.max_length = 60;
    check_contains(talk(options, {"Hi"}).warnings, "the context of 60 tokens is full; /reset begins");
}

TEST_CASE("chat: what contradicts it is refused") {
    const Workplace place;
    const auto said = [&](const std::function<void(GenerateOptions&)>& change) {
        GenerateOptions options = chat_options(place);
        change(options);
        return error_of([&] { talk(options, {}); });
    };
    CHECK(said([](GenerateOptions& o) { o.template_name = "alpaca"; }) ==
          "`chat` goes through a chat template, and `template` alpaca is none");
    CHECK(said([](GenerateOptions& o) { o.batch = "x"; }) == "`chat` and `batch` exclude each other: give one of them");
    check_contains(said([](GenerateOptions& o) { o.template_name = ""; }), " has no chat template; name one with ");
}

TEST_CASE("chat: the program holds a conversation over pipes") {
    const Workplace place;
    write_text(place / "in.txt", "Who likes Tom?\n/reset\nWho likes Tom?");
    Limits limits;
    limits.in = place / "in.txt";
    const std::vector<std::string> args = {"-m",     place.model, "--chat", "--template", "chatml",
                                           "--temp", "0",         "-n",     "6"};
    const ProgramRun run = run_binary("generate", args, limits);
    CHECK(run.code == 0);
    const std::string one = talk(chat_options(place, 6), {"Who likes Tom?"}).said;
    CHECK(run.out == one + one);
    check_contains(run.err, "2 answers: ");
}

TEST_CASE("prompts: lines with messages are conversations, by the model's own template or one that is named") {
    const Workplace place;
    const auto read = [&](const std::string& text) {
        write_text(place / "p.jsonl", text);
        return read_prompt_lines(place / "p.jsonl");
    };
    const auto lines = read("{\"prompt\": \"a\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}]}\n");
    CHECK(lines[0].text == "a");
    CHECK(lines[1].chat.n_messages() == 1);
    check_contains(
        error_of([&] {
            read(R"({"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]})");
        }),
        "p.jsonl: line 1: the last message is of the assistant, expected one that is to be answered");
    check_contains(error_of([&] { read(R"({"messages": []})"); }), "p.jsonl: line 1: the conversation has no message");
}

TEST_CASE("generate: a bias makes a token likelier, or forbids it, on every device and in every slot") {
    const Workplace place;
    const Model model = open_model(place.model);
    GenerateOptions options = greedy(place.model, "Once upon a time");
    const std::string plain = generate(options).text;
    const std::vector<int32_t> tokens = model.tokenizer.encode("Once upon a time" + plain);
    const int32_t first = tokens[model.tokenizer.encode("Once upon a time").size()];
    options.logit_bias = {{first, -std::numeric_limits<double>::infinity()}};
    const std::string without = generate(options).text;
    CHECK(without != plain);
    const int32_t wanted = *model.tokenizer.id_of("a");
    options.logit_bias = {{wanted, 100}};
    CHECK(generate(options).text == std::string(16, 'a'));
    options.logit_bias = {{model.n_tokens() > 0 ? static_cast<int32_t>(model.config.vocab_size) : 0, 1}};
    check_contains(error_of([&] { generate(options); }), "`logit_bias`: token ");
    for (const size_t n : {size_t{1}, size_t{3}}) {
        std::string lines;
        for (size_t i = 0; i < n; ++i) lines += "{\"prompt\": \"Once\"}\n";
        write_text(place / "p.jsonl", lines);
        GenerateOptions batch = greedy(place.model, "");
        batch.batch = place / "p.jsonl";
        batch.logit_bias = {{wanted, 100}};
        GenerateEvents events;
        events.line = [](const std::string& line) {
            CHECK(nlohmann::json::parse(line)["text"] == std::string(16, 'a'));
        };
        run_generation(batch, events);
    }
}

}  // namespace ggq::test
