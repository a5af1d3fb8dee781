#include "examples/support/cli.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"

namespace ggq {

namespace {

template <typename... Args>
[[noreturn]] void misuse(fmt::format_string<Args...> format, Args&&... args) {
    throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

template <typename T>
void read_number(const std::string& flag, const std::string& text, const char* expected, T& target) {
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, target);
    if (error != std::errc() || stop != end) misuse("{}: expected {}, got '{}'", flag, expected, text);
}

std::string with_dashes(std::string name) {
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
}

// "-s, --seed" -> "--seed", "-s": the long name first.
Strings split_names(const std::string& names) {
    Strings parts;
    for (const std::string& part : CLI::detail::split(names, ',')) parts.push_back(CLI::detail::trim_copy(part));
    std::stable_partition(parts.begin(), parts.end(), [](const std::string& name) { return name.starts_with("--"); });
    return parts;
}

// Levenshtein's distance: single characters inserted, removed or replaced.
size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = std::exchange(row[0], i);
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row[b.size()];
}

std::string bare_name(const std::string& name) {
    const size_t begin = std::min(name.find_first_not_of('-'), name.size());
    return with_dashes(name.substr(begin, name.find('=') - begin));
}

// Every spelling that CLI11 must know: each name with dashes and with underscores.
std::string cli11_names(const Flag& flag) {
    Strings spellings;
    for (const std::string& name : flag.names) {
        spellings.push_back(name);
        std::string other = name;
        std::replace(other.begin() + std::min<std::ptrdiff_t>(2, std::ssize(other)), other.end(), '-', '_');
        if (other != name) spellings.push_back(other);
    }
    return fmt::format("{}", fmt::join(spellings, ","));
}

void set_number_of_values(CLI::Option& option, Flag::Takes takes) {
    option.multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    if (takes == Flag::Takes::one_value) option.expected(1);
    if (takes == Flag::Takes::perhaps_a_value) option.expected(0, 1);
    if (takes == Flag::Takes::values) option.expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args();
}

Strings config_values(const nlohmann::json& value, const std::string& where) {
    if (value.is_string()) return {value.get<std::string>()};
    if (value.is_boolean() || value.is_number()) return {value.dump()};
    if (!value.is_array()) misuse("{}: expected a text, a number, true, false or a list", where);
    Strings values;
    for (const nlohmann::json& element : value)
        for (std::string& word : config_values(element, where)) values.push_back(std::move(word));
    if (values.empty()) misuse("{}: expected a value, got an empty list", where);
    return values;
}

constexpr size_t kMeaningColumn = 34;
constexpr size_t kHelpWidth = 110;

std::string wrapped(const std::string& text) {
    std::string out;
    size_t column = kMeaningColumn;
    for (const std::string& word : CLI::detail::split(text, ' ')) {
        if (column + 1 + word.size() > kHelpWidth) {
            out += '\n' + std::string(kMeaningColumn, ' ');
            column = kMeaningColumn;
        }
        const bool first = column == kMeaningColumn;
        out += first ? word : ' ' + word;
        column += word.size() + (first ? 0 : 1);
    }
    return out;
}

std::string help_row(const Flag& flag) {
    const std::string& name = flag.names[0];
    const auto brief = std::find_if(flag.names.begin(), flag.names.end(), [](const auto& n) { return n.size() == 2; });
    std::string left = "  " + (brief == flag.names.end() ? "    " : *brief + ", ") + name;
    if (!flag.value.empty())
        left += (flag.takes == Flag::Takes::perhaps_a_value ? "[=" + flag.value + "]" : " " + flag.value);
    const bool fits = left.size() + 2 <= kMeaningColumn;
    left += fits ? std::string(kMeaningColumn - left.size(), ' ') : '\n' + std::string(kMeaningColumn, ' ');
    return left + wrapped(flag.fallback.empty() ? flag.meaning : flag.meaning + " [" + flag.fallback + "]") + '\n';
}

}  // namespace

void read_value(const std::string&, const std::string& text, std::string& target) { target = text; }

void read_value(const std::string& flag, const std::string& text, int& target) {
    read_number(flag, text, "a whole number", target);
}

void read_value(const std::string& flag, const std::string& text, int64_t& target) {
    read_number(flag, text, "a whole number", target);
}

void read_value(const std::string& flag, const std::string& text, uint64_t& target) {
    read_number(flag, text, "a whole number of at least 0", target);
}

void read_value(const std::string& flag, const std::string& text, double& target) {
    read_number(flag, text, "a number", target);
}

std::string show_value(const std::string& value) { return value; }
std::string show_value(int64_t value) { return fmt::to_string(value); }
std::string show_value(uint64_t value) { return fmt::to_string(value); }
std::string show_value(double value) { return fmt::format("{:g}", value); }

bool read_switch(const std::string& flag, const Strings& values) {
    std::string word = CLI::detail::to_lower(values.back());
    for (const char* yes : {"", "true", "yes", "on", "1"})
        if (word == yes) return true;
    for (const char* no : {"false", "no", "off", "0"})
        if (word == no) return false;
    misuse("{}: expected true, false or nothing, got '{}'", flag, values.back());
}

FlagTable::FlagTable(std::string program, std::string purpose)
    : program_(std::move(program)), purpose_(std::move(purpose)), group_("general") {
    add("--config", "FILE", config_, "JSON object with these flags as keys; the command line wins over it");
    add_switch("-h, --help", help_, "show this page");
    add_switch("--version", version_, "show the version");
}

void FlagTable::group(std::string title) { group_ = std::move(title); }

Flag& FlagTable::add_row(const std::string& names, const Strings& aliases, Flag flag) {
    flag.names = split_names(names);
    for (const std::string& alias : aliases) flag.names.push_back(with_dashes(alias));
    flag.group = group_;
    return flags_.emplace_back(std::move(flag));
}

Flag& FlagTable::add_switch(const std::string& names, bool& target, const std::string& meaning,
                            const Strings& aliases) {
    Flag& flag = add_row(names, aliases, {.meaning = meaning, .takes = Flag::Takes::perhaps_a_value});
    flag.set = [&target, name = flag.names[0]](const Strings& values) { target = read_switch(name, values); };
    return flag;
}

Flag& FlagTable::add(const std::string& names, bool& target, const std::string& meaning, const Strings& aliases) {
    Flag& flag = add_switch(names, target, meaning, aliases);
    const std::string name = flag.names[0], opposite = "--no-" + name.substr(2);
    if (target) flag.fallback = "on; " + opposite;
    translated(opposite, name, Flag::Takes::perhaps_a_value,
               [opposite](const Strings& values) { return Strings{read_switch(opposite, values) ? "false" : "true"}; });
    return flag;
}

Flag& FlagTable::list(const std::string& names, const std::string& value, std::string& target,
                      const std::string& meaning, const Strings& aliases) {
    Flag& flag = add(names, value, target, meaning, aliases);
    flag.takes = Flag::Takes::values;
    flag.set = [&target](const Strings& values) { target = fmt::format("{}", fmt::join(values, ",")); };
    return flag;
}

Flag& FlagTable::translated(const std::string& name, const std::string& stands_for, Flag::Takes takes,
                            std::function<Strings(const Strings&)> translate) {
    Flag row{.takes = takes, .stands_for = stands_for, .translate = std::move(translate)};
    return add_row(with_dashes(name), {}, std::move(row));
}

void FlagTable::require(const std::string& name, const Strings& unless) { required_.push_back({name, unless}); }

std::optional<std::string> FlagTable::parse(const Strings& args) {
    Given given = split(args);
    for (const char* name : {"--help", "--version", "--config"})
        if (const auto row = given.find(find(name)); row != given.end()) row->first->set(row->second);
    if (help_) return help();
    if (version_) return fmt::format("ggq {} {}\n", program_, GGQ_VERSION);
    if (!config_.empty()) apply(read_config(config_));
    apply(std::move(given));
    check_required();
    return std::nullopt;
}

const Flag* FlagTable::find(const std::string& name) const {
    for (const Flag& flag : flags_)
        if (std::find(flag.names.begin(), flag.names.end(), name) != flag.names.end()) return &flag;
    return nullptr;
}

FlagTable::Given FlagTable::split(const Strings& args) const {
    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    Given given;
    for (const Flag& flag : flags_) {
        const auto keep = [&given, &flag](const Strings& values) { return given[&flag] = values, true; };
        set_number_of_values(*app.add_option(cli11_names(flag), keep), flag.takes);
    }
    try {
        app.parse(Strings(args.rbegin(), args.rend()));
    } catch (const CLI::ParseError& error) {
        const std::string reason = error.what();
        misuse("{} needs a value", reason.substr(0, reason.find(':')));
    }
    for (const std::string& word : app.remaining()) {
        if (!word.starts_with('-')) misuse("'{}' belongs to no flag; see --help", word);
        misuse("unknown flag {}{}", word.substr(0, word.find('=')), suggestion(word));
    }
    return given;
}

FlagTable::Given FlagTable::read_config(const std::string& path) const {
    const nlohmann::json config = parse_json(read_text_file(path), path);
    if (!config.is_object()) misuse("{}: expected a JSON object with flags as keys", path);
    Given given;
    for (const auto& [key, value] : config.items()) {
        const Flag* flag = find("--" + with_dashes(key));
        if (!flag) misuse("{}: unknown key {}{}", path, key, suggestion(key));
        if (!value.is_null()) given[flag] = config_values(value, path + ": " + key);
    }
    return given;
}

void FlagTable::apply(Given given) {
    for (const Flag& flag : flags_) {
        const auto row = given.find(&flag);
        if (row == given.end() || !flag.translate) continue;
        Strings& values = given[find(flag.stands_for)];
        const Strings translation = flag.translate(row->second);
        // Before the values of the flag itself, which win.
        values.insert(values.begin(), translation.begin(), translation.end());
    }
    for (const Flag& flag : flags_) {
        const auto row = given.find(&flag);
        if (row == given.end() || flag.translate || row->second.empty()) continue;
        flag.set(row->second);
        if (flag.given) *flag.given = true;
        seen_.push_back(flag.names[0]);
    }
}

void FlagTable::check_required() const {
    const auto seen = [&](const std::string& name) {
        return std::find(seen_.begin(), seen_.end(), name) != seen_.end();
    };
    for (const Required& required : required_) {
        if (seen(required.name) || std::any_of(required.unless.begin(), required.unless.end(), seen)) continue;
        const Flag& flag = *find(required.name);
        misuse("{} {} is missing: {}", required.name, flag.value, flag.meaning);
    }
}

std::string FlagTable::suggestion(const std::string& name) const {
    const std::string wanted = bare_name(name);
    std::string nearest;
    size_t least = std::max<size_t>(2, wanted.size() / 3) + 1;
    for (const Flag& flag : flags_)
        for (const std::string& candidate : flag.names) {
            if (!candidate.starts_with("--")) continue;
            const size_t distance = edit_distance(wanted, bare_name(candidate));
            if (distance >= least) continue;
            least = distance;
            nearest = candidate;
        }
    if (nearest.empty()) return "; see --help";
    if (!name.starts_with('-')) nearest = nearest.substr(2);
    return "; did you mean " + nearest + "?";
}

std::string FlagTable::help() const {
    std::string text = fmt::format("{}: {}\n", program_, purpose_);
    std::string usage = program_;
    for (const Required& required : required_)
        usage += fmt::format(" {} {}", required.name, find(required.name)->value);
    text += "usage: " + usage + " [flags]\n";
    Strings groups;
    for (const Flag& flag : flags_)
        if (std::find(groups.begin(), groups.end(), flag.group) == groups.end()) groups.push_back(flag.group);
    std::rotate(groups.begin(), groups.begin() + 1, groups.end());
    for (const std::string& group : groups) {
        text += "\n" + group + "\n";
        for (const Flag& flag : flags_)
            if (flag.group == group && !flag.meaning.empty()) text += help_row(flag);
    }
    return text +
           "\n'-' and '_' are alike. The names that transformers, TRL, mlx-lm and llama.cpp use are understood "
           "as well.\n";
}

}  // namespace ggq
