// What one rendering of a template knows: the names in reach, how much was done already, and the time.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/jinja/value.h"

namespace ggq::jinja {

// Names of a block, and of what is around it.
class Scope : public std::enable_shared_from_this<Scope> {
public:
    explicit Scope(std::shared_ptr<const Scope> outer = nullptr) : outer_(std::move(outer)) {}
    std::shared_ptr<Scope> inner() const { return std::make_shared<Scope>(shared_from_this()); }
    std::shared_ptr<Scope> shared() { return shared_from_this(); }

    const Value* find(std::string_view name) const;
    void set(const std::string& name, Value value);

private:
    std::vector<std::pair<std::string, Value>> values_;
    std::shared_ptr<const Scope> outer_;
};

using ScopePtr = std::shared_ptr<Scope>;

// Bounds, so that no template runs away: far beyond what any conversation needs.
class Render {
public:
    explicit Render(std::time_t now) : now_(now) {}

    std::time_t now() const { return now_; }
    void step();                    // one statement or turn of a loop
    void check_size(size_t) const;  // of a text that is being made, in bytes

    // How deep macros and loops have called themselves, for as long as it lives.
    class Level {
    public:
        explicit Level(Render& render);
        ~Level() { --render_.level_; }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;

    private:
        Render& render_;
    };

private:
    std::time_t now_;
    int64_t steps_ = 0;
    int level_ = 0;
};

// What {% generation %} holds is of this source.
inline constexpr int kGenerated = -1;

using Function = Value (*)(Render&, const Value& in, const Arguments& arguments);

// By name; null where there is none. A filter makes a value of one, a test says true or false of it.
Function find_filter(std::string_view name);
Function find_test(std::string_view name);
// What a value has under a name: a method bound to it, or an attribute of an object; undefined if nothing.
Value attribute_of(const Value& value, const std::string& name);
// value[key].
Value item_of(const Value& value, const Value& key);
// A global function by name; null where there is none.
const Value* find_global(std::string_view name);

}  // namespace ggq::jinja
