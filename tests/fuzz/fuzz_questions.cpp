// Questions of tests, as CSV and as JSON lines, and the number that a text comes to: normal, so that it is its own.
#include "models/evaluate/questions.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    const std::string_view text = fuzz::text_of(data, size);
    for (const char* name : {"q.csv", "q.jsonl"}) {
        folder.write(name, text);
        fuzz::refuse_or_read([&] {
            for (const ChoiceQuestion& q : read_choice_questions(folder.path() / name, -1))
                if (q.choices.size() < 2 || q.answer >= q.choices.size()) std::abort();
        });
        fuzz::refuse_or_read([&] {
            for (const SumQuestion& q : read_sum_questions(folder.path() / name, -1))
                if (final_number(q.number) != q.number) std::abort();
        });
    }
    if (const auto number = final_number(std::string(text)); number && final_number(*number) != number) std::abort();
    return 0;
}
