// Unicode's normal forms (UAX #15), by libutf8proc. A build without that library refuses them by name.
#pragma once

#include <string_view>

#include "models/text/aligned_text.h"

namespace ggq {

enum class UnicodeForm { none, nfc, nfd, nfkc, nfkd };

// "NFC" and so on; `none` for any other name. Throws Error where this build has no tables for a form.
UnicodeForm unicode_form(std::string_view name);

// What a character became stands where its grapheme cluster stood: no form changes text across the border of two.
AlignedText in_form(const AlignedText& text, UnicodeForm form);

}  // namespace ggq
