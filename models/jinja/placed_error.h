// An error of a template that says already where it is.
#pragma once

#include "ggq/error.h"

namespace ggq::jinja {

class PlacedError : public Error {
public:
    using Error::Error;
};

}  // namespace ggq::jinja
