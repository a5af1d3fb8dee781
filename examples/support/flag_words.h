// The library's sentences name an option as `max_length`; on the command line that is --max-length.
#pragma once

#include <string>
#include <string_view>

namespace ggq {

// Puts the flags of these programs in the place of the options that a sentence names; all else stays as it is.
std::string with_flags(std::string_view sentence);

// The same, as printable() shows it: a line of the library's for a person.
std::string told(std::string_view line);

}  // namespace ggq
