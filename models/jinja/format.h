// Python's two ways to put values into a text, as far as templates use them: "%s %05.2f" and str.format().
#pragma once

#include "models/jinja/value.h"

namespace ggq::jinja {

// `values` is a tuple of what is put in, a dict for "%(name)s", or one value. Throws Error for a form that is not
// known.
Text percent_formatted(const Text& format, const Value& values);
Text brace_formatted(const Text& format, const Arguments& arguments);

}  // namespace ggq::jinja
