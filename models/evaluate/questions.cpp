#include "models/evaluate/questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/csv.h"
#include "models/text/record_items.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr size_t kMostChoices = 26;
constexpr size_t kLongestNumber = 400;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_csv(const fs::path& file) { return file.extension() == ".csv" || file.extension() == ".tsv"; }

size_t answer_of(const std::string& text, size_t n_choices, const std::string& place) {
    size_t answer = n_choices;
    if (text.size() == 1 && is_digit(text[0])) answer = static_cast<size_t>(text[0] - '0');
    if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') answer = static_cast<size_t>(text[0] - 'A');
    require(answer < n_choices, "{}: expected an answer from 0 to {} or A to {}, got '{}'", place, n_choices - 1,
            letter(n_choices - 1), shown(text));
    return answer;
}

void check_choices(size_t n, const std::string& place) {
    require(n >= 2 && n <= kMostChoices, "{}: expected 2 to {} choices, got {}", place, kMostChoices, n);
}

// Which columns hold what.
struct Columns {
    size_t question = 0, answer = 0;
    std::vector<size_t> choices;
};

std::optional<Columns> named_columns(const std::vector<std::string>& header) {
    Columns c;
    const auto question = std::ranges::find(header, "question"), answer = std::ranges::find(header, "answer");
    if (question == header.end() || answer == header.end()) return std::nullopt;
    c.question = static_cast<size_t>(question - header.begin());
    c.answer = static_cast<size_t>(answer - header.begin());
    for (size_t i = 0; i < header.size(); ++i)
        if (header[i].starts_with("choice") || (header[i].size() == 1 && header[i][0] >= 'A' && header[i][0] <= 'Z'))
            c.choices.push_back(i);
    return c;
}

Columns columns_in_order(size_t n) {
    Columns c{0, n - 1, {}};
    for (size_t i = 1; i + 1 < n; ++i) c.choices.push_back(i);
    return c;
}

std::vector<ChoiceQuestion> questions_of_csv(const fs::path& file, int64_t limit) {
    TextStream text(file);
    CsvReader reader(text, csv_separator(text));
    std::vector<ChoiceQuestion> questions;
    std::optional<Columns> columns;
    size_t n_columns = 0;
    for (std::vector<std::string> row; reader.next(row);) {
        const std::string place = fmt::format("{}: line {}", text.name(), reader.line());
        const bool first = n_columns == 0;
        if (first) {
            n_columns = row.size();
            columns = named_columns(row);
            check_choices(columns ? columns->choices.size() : n_columns - std::min<size_t>(n_columns, 2), place);
            if (columns) continue;
            columns = columns_in_order(n_columns);
        }
        require(row.size() == n_columns, "{}: expected {} fields as in the first row, got {}", place, n_columns,
                row.size());
        ChoiceQuestion q{row[columns->question], {}, 0};
        for (const size_t i : columns->choices) q.choices.push_back(row[i]);
        q.answer = answer_of(row[columns->answer], q.choices.size(), place);
        questions.push_back(std::move(q));
        if (std::ssize(questions) == limit) break;
    }
    return questions;
}

std::string text_in(const json& item, const char* key, const std::string& place) {
    require(item.is_object() && item.contains(key) && item[key].is_string(), "{}: expected a text under '{}'", place,
            key);
    return item[key];
}

ChoiceQuestion choice_question(const json& item, const std::string& place) {
    ChoiceQuestion q{text_in(item, "question", place), {}, 0};
    require(item.contains("choices") && item["choices"].is_array() && item.contains("answer"),
            "{}: expected a list under 'choices', and 'answer'", place);
    for (const json& choice : item["choices"]) {
        require(choice.is_string(), "{}: expected choices to be texts", place);
        q.choices.push_back(choice);
    }
    check_choices(q.choices.size(), place);
    const json& answer = item["answer"];
    q.answer = answer_of(answer.is_string() ? answer.get<std::string>() : answer.dump(), q.choices.size(), place);
    return q;
}

// "1,234.50" -> "1234.5", "$7." -> "7", "-0" -> "0"
std::string normal_number(std::string_view text) {
    std::string number;
    for (const char c : text)
        if (c != ',' && c != '$') number += c;
    const bool negative = number.starts_with('-');
    number.erase(0, negative ? 1 : 0);
    if (number.find('.') != std::string::npos) number.erase(number.find_last_not_of('0') + 1);
    if (number.ends_with('.')) number.pop_back();
    number.erase(0, std::min(number.find_first_not_of('0'), number.size()));
    if (number.empty() || number[0] == '.') number.insert(0, 1, '0');
    return negative && number != "0" ? "-" + number : number;
}

}  // namespace

std::string letter(size_t choice) { return std::string(1, static_cast<char>('A' + choice)); }

std::vector<ChoiceQuestion> read_choice_questions(const fs::path& file, int64_t limit) {
    std::vector<ChoiceQuestion> questions;
    if (is_csv(file)) {
        questions = questions_of_csv(file, limit);
    } else {
        const auto items = open_record_items(file, DataFormat::json);
        while (std::ssize(questions) != limit) {
            const auto item = items->next();
            if (!item) break;
            questions.push_back(choice_question(*item, items->place()));
        }
    }
    require(!questions.empty(), "{}: expected questions, got none", file.string());
    return questions;
}

std::vector<SumQuestion> read_sum_questions(const fs::path& file, int64_t limit) {
    std::vector<SumQuestion> questions;
    const auto items = open_record_items(file);
    while (std::ssize(questions) != limit) {
        const auto item = items->next();
        if (!item) break;
        SumQuestion q{text_in(*item, "question", items->place()), text_in(*item, "answer", items->place()), ""};
        const auto number = final_number(q.answer);
        require(number.has_value(), "{}: expected an answer with a number, got '{}'", items->place(), shown(q.answer));
        q.number = *number;
        questions.push_back(std::move(q));
    }
    require(!questions.empty(), "{}: expected questions, got none", file.string());
    return questions;
}

std::optional<std::string> final_number(const std::string& text) {
    const size_t mark = text.rfind("####");
    const std::string_view part = mark == std::string::npos ? text : std::string_view(text).substr(mark);
    size_t end = part.size();
    while (end > 0 && !is_digit(part[end - 1])) --end;
    if (end == 0) return std::nullopt;
    size_t begin = end;
    const auto belongs = [&](size_t at) { return is_digit(part[at]) || part[at] == ',' || part[at] == '.'; };
    while (begin > 0 && end - begin < kLongestNumber && belongs(begin - 1)) --begin;
    while (!is_digit(part[begin]) && part[begin] != '.') ++begin;
    size_t sign = begin;
    while (sign > 0 && part[sign - 1] == '$') --sign;
    // "5-3" is a sum, not a number below zero.
    const bool negative = sign > 0 && part[sign - 1] == '-' && (sign == 1 || !is_digit(part[sign - 2]));
    return normal_number((negative ? "-" : "") + std::string(part.substr(begin, end - begin)));
}

std::string subject_of(const fs::path& file) {
    std::string name = file.stem().string();
    for (const char* part : {"_test", "_dev", "_val"})
        if (name.ends_with(part)) name.erase(name.size() - std::string_view(part).size());
    std::ranges::replace(name, '_', ' ');
    return name;
}

}  // namespace ggq
