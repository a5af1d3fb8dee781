#include "models/jinja/render.h"

#include "ggq/error.h"

namespace ggq::jinja {

namespace {

constexpr int64_t kMostSteps = 2'000'000;
constexpr size_t kMostBytes = size_t{256} << 20;
constexpr int kMostLevels = 200;

}  // namespace

const Value* Scope::find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer_.get())
        for (const auto& [key, value] : scope->values_)
            if (key == name) return &value;
    return nullptr;
}

void Scope::set(const std::string& name, Value value) {
    for (auto& [key, old] : values_) {
        if (key != name) continue;
        old = std::move(value);
        return;
    }
    values_.emplace_back(name, std::move(value));
}

void Render::step() { require(++steps_ <= kMostSteps, "the template takes more than {} steps", kMostSteps); }

void Render::check_size(size_t n) const {
    require(n <= kMostBytes, "the template makes a text of more than {} MiB", kMostBytes >> 20);
}

Render::Level::Level(Render& render) : render_(render) {
    require(++render_.level_ <= kMostLevels, "the template calls itself more than {} times", kMostLevels);
}

}  // namespace ggq::jinja
