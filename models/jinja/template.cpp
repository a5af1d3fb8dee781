#include "models/jinja/template.h"

#include <optional>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

Template::Template(std::string_view source, std::string name) : name_(std::move(name)) {
    const std::optional<size_t> bad = invalid_utf8(source);
    require(!bad, "{}: expected a template in UTF-8, got other bytes at offset {}", name_, bad.value_or(0));
    block_ = std::make_unique<Block>(parse(source, name_));
}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Text Template::render(const Dict& variables, std::time_t now) const {
    Render render(now);
    const auto scope = std::make_shared<Scope>();
    for (const auto& [name, value] : variables.items) scope->set(name.to_text().str(), value);
    Text out;
    block_->run(render, *scope, out);
    return out;
}

}  // namespace ggq::jinja
