// A Jinja template, as Hugging Face renders chat templates with it (trim_blocks, lstrip_blocks, loop controls, the
// {% generation %} tag, a sandbox in which nothing that was given can be changed), to the byte.
//
// Known: for, if, set, macro, call, filter, with, block, raw, break, continue, generation; all operators, filters and
// tests that Jinja documents but random, urlize, wordwrap, xmlattr, filesizeformat; methods of str, dict and list that
// templates use. Anything else (include, extends, import) is refused with template and line, never dropped.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "models/jinja/value.h"

namespace ggq::jinja {

struct Block;

class Template {
public:
    // `name` stands in errors. Throws Error for what cannot be parsed: "NAME line N: ...".
    Template(std::string_view source, std::string name);
    ~Template();
    Template(Template&&) noexcept;
    Template& operator=(Template&&) noexcept;

    // The rendered text, its marks as Text has them; of what {% generation %} held the source is kGenerated. `now` is
    // what strftime_now() tells. Throws Error for what cannot be rendered or goes beyond the bounds of Render.
    Text render(const Dict& variables, std::time_t now) const;

private:
    std::string name_;
    std::unique_ptr<Block> block_;
};

}  // namespace ggq::jinja
