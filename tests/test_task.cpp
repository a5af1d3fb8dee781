// Tests with questions: how they are read and put, which answer is counted, and the same figures however a base came to
// be quantized.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/evaluate/task.h"
#include "models/evaluate/task_prompts.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

EvaluateOptions task_of(const Workplace& place, EvalTask task, const std::string& data) {
    EvaluateOptions o;
    o.base.model = place.model;
    o.base.device = "cpu";
    o.task = task;
    o.data = data;
    o.max_new_tokens = 8;
    return o;
}

// Questions whose right answer is that of `answer`.
std::string choice_rows(int n, const std::function<char(int)>& answer) {
    std::string text = "question,choice0,choice1,choice2,choice3,answer\n";
    for (int i = 0; i < n; ++i)
        text += "Who likes Tom " + std::to_string(i) + "?,Lily,\"Tom, too\",the dog,she," + answer(i) + "\n";
    return text;
}

}  // namespace

TEST_CASE("questions: choices by name, in order, and of JSON") {
    const Workplace place;
    write_text(place / "a.csv", "question,A,B,answer\nx,1,2,B\n\"y\nz\",3,\"4,5\",0\n");
    const auto named = read_choice_questions(place / "a.csv", -1);
    REQUIRE(named.size() == 2);
    CHECK(named[0].answer == 1);
    CHECK(named[1].question == "y\nz");
    CHECK(named[1].choices == std::vector<std::string>{"3", "4,5"});
    write_text(place / "b.csv", "x,1,2,3,4,D\ny,1,2,3,4,A\n");
    CHECK(read_choice_questions(place / "b.csv", -1)[0].answer == 3);
    CHECK(read_choice_questions(place / "b.csv", 1).size() == 1);
    write_text(place / "c.jsonl", R"({"question": "x", "choices": ["1", "2"], "answer": 1})");
    CHECK(read_choice_questions(place / "c.jsonl", -1)[0].answer == 1);
    const auto error = [&](const std::string& text) {
        write_text(place / "d.csv", text);
        return error_of([&] { read_choice_questions(place / "d.csv", -1); });
    };
    check_contains(error("x,1,2,C\n"), "d.csv: line 1: expected an answer from 0 to 1 or A to B, got 'C'");
    check_contains(error("x,1,2,A\ny,1,B\n"), "d.csv: line 2: expected 4 fields as in the first row, got 3");
    check_contains(error("x,A\n"), "expected 2 to 26 choices, got 0");
    check_contains(error(""), "expected questions, got none");
}

TEST_CASE("questions: the number that a text comes to") {
    CHECK(final_number("so 3 + 4 = 7.\n#### 1,234") == "1234");
    CHECK(final_number("It costs $18.50.") == "18.5");
    CHECK(final_number("#### -0005.00") == "-5");
    CHECK(final_number("from 5-3") == "3");
    CHECK(final_number("is -$3") == "-3");
    CHECK(final_number("0.0") == "0");
    CHECK(final_number("about .5") == "0.5");
    CHECK_FALSE(final_number("none").has_value());
    CHECK_FALSE(final_number("7 is wrong #### ").has_value());
    CHECK_FALSE(final_number("").has_value());
}

TEST_CASE("questions: how they are put") {
    const ChoiceQuestion shot{"1 + 1?", {"2", "3"}, 0}, asked{"2 + 2?", {"5", "4"}, 1};
    CHECK(choice_text("sums", std::vector{shot}, asked) ==
          "The following are multiple choice questions (with answers) about sums.\n\n1 + 1?\nA. 2\nB. 3\nAnswer: A\n\n"
          "2 + 2?\nA. 5\nB. 4\nAnswer:");
    const SumQuestion one{"a?", "1 #### 1", "1"}, two{"b?", "", ""};
    CHECK(sum_text(std::vector{one}, two) == "Question: a?\nAnswer: 1 #### 1\n\nQuestion: b?\nAnswer:");
    CHECK(sum_conversation("s", std::vector{one}, two).n_messages() == 4);
    CHECK(subject_of("x/high_school_biology_test.csv") == "high school biology");
}

TEST_CASE("task: the likeliest letter counts, and the same with what is in the cache") {
    const Workplace place;
    EvaluateOptions options = task_of(place, EvalTask::choices, place / "all_test.csv");
    int64_t n_right = 0;
    for (const char c : {'0', '1', '2', '3'}) {
        write_text(options.data, choice_rows(6, [c](int) { return c; }));
        const TaskResult result = run_task(options, {});
        CHECK(result.all.n == 6);
        n_right += result.all.n_right;
    }
    CHECK(n_right == 6);  // of four answers one is taken
    // Each alone, with nothing in the cache, is answered as among others.
    write_text(options.data, choice_rows(6, [](int i) { return static_cast<char>('0' + i % 4); }));
    const TaskResult together = run_task(options, {});
    int64_t alone = 0;
    for (int i = 0; i < 6; ++i) {
        const auto questions = read_choice_questions(options.data, -1);
        EvaluateOptions one = options;
        one.data = place / "all_one_test.csv";
        const ChoiceQuestion& q = questions[static_cast<size_t>(i)];
        write_text(one.data, "\"" + q.question + "\",Lily,\"Tom, too\",the dog,she," + std::to_string(q.answer) + "\n");
        fs::rename(one.data, place / "all_test.csv");
        one.data = place / "all_test.csv";
        alone += run_task(one, {}).all.n_right;
        write_text(options.data, choice_rows(6, [](int n) { return static_cast<char>('0' + n % 4); }));
    }
    CHECK(alone == together.all.n_right);
}

TEST_CASE("task: shots are of the file itself, of another one, or of a folder") {
    const Workplace place;
    const std::string rows = choice_rows(8, [](int i) { return static_cast<char>('0' + i % 4); });
    EvaluateOptions options = task_of(place, EvalTask::choices, place / "x_test.csv");
    write_text(options.data, rows);
    options.shots = 3;
    CHECK(run_task(options, {}).all.n == 5);
    options.limit = 2;
    CHECK(run_task(options, {}).all.n == 2);
    options.limit.reset();
    fs::create_directories(place / "dev");
    write_text(place / "dev/x_dev.csv", rows);
    options.shots_data = place / "dev";
    const TaskResult result = run_task(options, {});
    CHECK(result.all.n == 8);
    CHECK(result.files.size() == 1);
    options.shots_data = place / "dev/x_dev.csv";
    CHECK(run_task(options, {}).all.n_right == result.all.n_right);
    options.shots = 9;
    check_contains(error_of([&] { run_task(options, {}); }), "expected 9 questions as shots, got 8 in all");
    options.task = EvalTask::loss;
    check_contains(error_of([&] { run_evaluation(options, {}); }), "are of a `task`, which is loss here");
}

TEST_CASE("task: sums are answered by what is generated") {
    const Workplace place;
    TrainOptions training = place.options(40);
    std::string lines, questions;
    for (int i = 0; i < 4; ++i) {
        const std::string q = "Question: How many? " + std::string(static_cast<size_t>(i + 1), 'x') + "\nAnswer:";
        lines += nlohmann::json{{"prompt", q}, {"completion", " #### " + std::to_string(i + 3)}}.dump() + "\n";
        questions += nlohmann::json{{"question", "How many? " + std::string(static_cast<size_t>(i + 1), 'x')},
                                    {"answer", "#### " + std::to_string(i + 3)}}
                         .dump() +
                     "\n";
    }
    for (int i = 0; i < 4; ++i) lines += lines;
    write_text(place.data, lines);
    train(training);
    EvaluateOptions options = task_of(place, EvalTask::answers, place / "sums.jsonl");
    write_text(options.data, questions);
    options.batch_size = 3;
    options.max_new_tokens = 16;
    const TaskResult before = run_task(options, {});
    options.adapters = {{place.out, 1}};
    const TaskResult after = run_task(options, {});
    CHECK(before.all.n_right == 0);
    CHECK(after.all.n == 4);
    CHECK(after.all.n_right >= 1);
    CHECK(after.n_without_number == 0);
    CHECK(after.new_tokens > 0);
}

TEST_CASE("task: a question without room is left out and said") {
    const Workplace place;
    EvaluateOptions options = task_of(place, EvalTask::choices, place / "x_test.csv");
    write_text(options.data, "short?,1,2,A\n" + std::string(2000, 'x') + ",1,2,B\n");
    std::string warnings;
    Events events;
    events.warning = [&](const std::string& line) { warnings += line; };
    const TaskResult result = run_task(options, events);
    CHECK(result.all.n == 1);
    CHECK(result.n_too_long == 1);
    check_contains(warnings, "1 questions have no room in the 512 tokens that the model takes; they were left out");
}

TEST_CASE("task: the program prints a line a file and a sum, or JSON") {
    const Workplace place;
    for (const char* name : {"a_test.csv", "b_test.csv"})
        write_text(place / name, choice_rows(4, [](int i) { return static_cast<char>('0' + i); }));
    const std::vector<std::string> args = {
        "-m",      place.model, "--task", "mmlu", "-d", place / "a_test.csv", place / "b_test.csv",
        "--quiet", "--device",  "cpu"};
    const ProgramRun run = run_binary("evaluate", args);
    CHECK(run.code == 0);
    check_contains(run.out, "a_test.csv: 25.00 % (1 of 4, standard error 25.00 %)\n");
    check_contains(run.out, "\naccuracy 25.00 % (2 of 8, ");
    std::vector<std::string> json = args;
    json.emplace_back("--json");
    const auto result = nlohmann::json::parse(run_binary("evaluate", json).out);
    CHECK(result["task"] == "choices");
    CHECK(result["questions"] == 8);
    CHECK(result["files"][1]["file"] == "b_test.csv");
}

TEST_CASE("task: real questions of MMLU and GSM8K are read") {
    const auto root = fixtures();
    if (!root || !fs::is_directory(*root / "data/mmlu")) return skipped("data/mmlu is absent");
    size_t n = 0;
    for (const auto& file : fs::directory_iterator(*root / "data/mmlu")) {
        for (const ChoiceQuestion& q : read_choice_questions(file.path(), -1)) {
            CHECK(q.choices.size() == 4);
            ++n;
        }
    }
    CHECK(n > 1000);
    CHECK(read_sum_questions(*root / "data/gsm8k/test.jsonl", -1).size() == 1319);
}

}  // namespace ggq::test
