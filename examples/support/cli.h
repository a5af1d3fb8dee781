// The command line of a program as a table of flags: it parses, reads configuration files, and prints the help.
//
// A row is a flag, the names that users of other programs type for it, what its value is, what it means, and the
// variable that it sets. '-' and '_' are alike. CLI11 cuts the command line into flags and values; a configuration file
// is a JSON object with the same keys. The command line wins over the file.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/option_table.h"

namespace ggq {

// The command line is wrong: exit code 2.
class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

using Strings = std::vector<std::string>;

struct Flag {
    enum class Takes { one_value, perhaps_a_value, values };

    Strings names{};         // "--lr", "-s", "--learning-rate": the first is the flag's own
    std::string value{};     // "PATH", "N", "nf4|fp4"; empty for a switch
    std::string meaning{};   // empty: not shown in the help
    std::string fallback{};  // the default as the help shows it
    std::string group{};
    Takes takes = Takes::one_value;
    std::function<void(const Strings& values)> set{};

    // Another program's flag that is a value of ours: these values go to the flag `stands_for`.
    std::string stands_for{};
    std::function<Strings(const Strings& values)> translate{};

    bool* given = nullptr;  // set to true when the flag is given
};

class FlagTable {
public:
    FlagTable(std::string program, std::string purpose);

    // The flags that follow are shown under this title.
    void group(std::string title);

    // `names` is "--lr" or "-s, --seed". The target's present value is the default.
    template <typename T>
    Flag& add(const std::string& names, const std::string& value, T& target, const std::string& meaning,
              const Strings& aliases = {});

    // A switch; "--no-NAME" turns it off.
    Flag& add(const std::string& names, bool& target, const std::string& meaning, const Strings& aliases = {});

    template <typename T, std::size_t N>
    Flag& choice(const std::string& names, const OptionName<T> (&table)[N], T& target, const std::string& meaning,
                 const Strings& aliases = {});

    // Several words or several times, joined with commas.
    Flag& list(const std::string& names, const std::string& value, std::string& target, const std::string& meaning,
               const Strings& aliases = {});

    // A switch that nothing turns off.
    Flag& add_switch(const std::string& names, bool& target, const std::string& meaning, const Strings& aliases = {});

    Flag& add_row(const std::string& names, const Strings& aliases, Flag flag);
    Flag& translated(const std::string& name, const std::string& stands_for, Flag::Takes takes,
                     std::function<Strings(const Strings&)> translate);

    // The flag must be given, by command line or file, unless one of the others is.
    void require(const std::string& name, const Strings& unless = {});

    // Sets the targets. Returns the text to print instead of running (--help, --version).
    std::optional<std::string> parse(const Strings& args);

    std::string help() const;
    const std::deque<Flag>& flags() const { return flags_; }

private:
    using Given = std::map<const Flag*, Strings>;

    const Flag* find(const std::string& name) const;
    Given split(const Strings& args) const;
    Given read_config(const std::string& path) const;
    void apply(Given given);
    void check_required() const;
    std::string suggestion(const std::string& name) const;

    struct Required {
        std::string name;
        Strings unless;
    };

    std::string program_, purpose_, group_;
    std::deque<Flag> flags_;
    std::vector<Required> required_;
    Strings seen_;  // names of the flags given so far
    bool help_ = false, version_ = false;
    std::string config_;
};

// "true" for a switch without a word. Throws UsageError where the word is neither yes nor no.
bool read_switch(const std::string& flag, const Strings& values);

void read_value(const std::string& flag, const std::string& text, std::string& target);
void read_value(const std::string& flag, const std::string& text, int& target);
void read_value(const std::string& flag, const std::string& text, int64_t& target);
void read_value(const std::string& flag, const std::string& text, uint64_t& target);
void read_value(const std::string& flag, const std::string& text, double& target);

template <typename T>
void read_value(const std::string& flag, const std::string& text, std::optional<T>& target) {
    read_value(flag, text, target.emplace());
}

std::string show_value(const std::string& value);
std::string show_value(int64_t value);
std::string show_value(uint64_t value);
std::string show_value(double value);
inline std::string show_value(int value) { return show_value(int64_t{value}); }

template <typename T>
std::string show_value(const std::optional<T>& value) {
    return value ? show_value(*value) : std::string();
}

template <typename T>
Flag& FlagTable::add(const std::string& names, const std::string& value, T& target, const std::string& meaning,
                     const Strings& aliases) {
    Flag& flag = add_row(names, aliases, {.value = value, .meaning = meaning, .fallback = show_value(target)});
    flag.set = [&target, name = flag.names[0]](const Strings& values) { read_value(name, values.back(), target); };
    return flag;
}

template <typename T, std::size_t N>
Flag& FlagTable::choice(const std::string& names, const OptionName<T> (&table)[N], T& target,
                        const std::string& meaning, const Strings& aliases) {
    Flag row{.value = option_list(table), .meaning = meaning, .fallback = option_text(table, target)};
    Flag& flag = add_row(names, aliases, std::move(row));
    flag.set = [&target, &table, name = flag.names[0]](const Strings& values) {
        const std::optional<T> found = find_option(table, values.back());
        if (!found)
            throw UsageError(name + ": expected one of " + option_list(table) + ", got '" + values.back() + "'");
        target = *found;
    };
    return flag;
}

}  // namespace ggq
