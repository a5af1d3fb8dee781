#include "examples/support/flag_words.h"

#include <algorithm>
#include <set>

#include "examples/support/flags.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

void add_names(const FlagTable& table, std::set<std::string, std::less<>>& names) {
    for (const Flag& flag : table.flags())
        for (const std::string& name : flag.names)
            if (name.starts_with("--")) names.insert(name);
}

std::set<std::string, std::less<>> every_flag() {
    std::set<std::string, std::less<>> names;
    TrainOptions train;
    GenerateOptions generate;
    EvaluateOptions evaluate;
    add_names(train_flags(train), names);
    add_names(generate_flags(generate), names);
    add_names(evaluate_flags(evaluate), names);
    return names;
}

}  // namespace

std::string with_flags(std::string_view sentence) {
    static const std::set<std::string, std::less<>> flags = every_flag();
    std::string text;
    while (!sentence.empty()) {
        const size_t open = sentence.find('`'), close = sentence.find('`', open + 1);
        if (open == std::string_view::npos || close == std::string_view::npos) break;
        std::string flag = "--" + std::string(sentence.substr(open + 1, close - open - 1));
        std::ranges::replace(flag, '_', '-');
        text += sentence.substr(0, open);
        if (flags.contains(flag)) {
            text += flag;
            sentence.remove_prefix(close + 1);
        } else {  // the second quote may begin a name
            text += sentence.substr(open, close - open);
            sentence.remove_prefix(close);
        }
    }
    return text.append(sentence);
}

std::string told(std::string_view line) { return printable(with_flags(line)); }

}  // namespace ggq
