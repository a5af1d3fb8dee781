#include "models/text/unicode_form.h"

#include <cstdlib>
#include <memory>
#include <string>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

#ifdef GGQ_HAVE_UTF8PROC
#include <utf8proc.h>
#endif

namespace ggq {

namespace {

constexpr struct {
    std::string_view name;
    UnicodeForm form;
} kForms[] = {
    {"NFC", UnicodeForm::nfc}, {"NFD", UnicodeForm::nfd}, {"NFKC", UnicodeForm::nfkc}, {"NFKD", UnicodeForm::nfkd}};

#ifdef GGQ_HAVE_UTF8PROC

constexpr bool kHasTables = true;

utf8proc_option_t options_of(UnicodeForm form) {
    const bool composes = form == UnicodeForm::nfc || form == UnicodeForm::nfkc;
    const bool compatible = form == UnicodeForm::nfkc || form == UnicodeForm::nfkd;
    return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                          (compatible ? UTF8PROC_COMPAT : 0));
}

std::string formed(std::string_view text, UnicodeForm form) {
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                            static_cast<utf8proc_ssize_t>(text.size()), &made, options_of(form));
    require(n >= 0, "normalizer: a text of {} bytes has no normal form: {}", text.size(), utf8proc_errmsg(n));
    const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(made, std::free);
    return {reinterpret_cast<const char*>(made), static_cast<size_t>(n)};
}

// Where the grapheme cluster that begins at `at` ends.
size_t cluster_end(std::string_view text, size_t at) {
    utf8proc_int32_t state = 0;
    auto before = static_cast<utf8proc_int32_t>(utf8_code_point(text, at));
    for (at += static_cast<size_t>(utf8_length(text[at])); at < text.size();) {
        const auto next = static_cast<utf8proc_int32_t>(utf8_code_point(text, at));
        if (utf8proc_grapheme_break_stateful(before, next, &state)) break;
        before = next;
        at += static_cast<size_t>(utf8_length(text[at]));
    }
    return at;
}

#else

constexpr bool kHasTables = false;

std::string formed(std::string_view text, UnicodeForm) { return std::string(text); }

size_t cluster_end(std::string_view text, size_t) { return text.size(); }

#endif

}  // namespace

UnicodeForm unicode_form(std::string_view name) {
    for (const auto& row : kForms) {
        if (name != row.name) continue;
        require(kHasTables, "{} needs libutf8proc, which this build was made without; install it and build again",
                name);
        return row.form;
    }
    return UnicodeForm::none;
}

AlignedText in_form(const AlignedText& text, UnicodeForm form) {
    if (formed(text.text(), form) == text.text()) return text;
    AlignedText result;
    for (size_t at = 0; at < text.size();) {
        const TextRange cluster{at, cluster_end(text.text(), at)};
        const std::string made = formed(text.part(cluster), form);
        if (made == text.part(cluster)) result.append(text, cluster);
        else result.insert_at_end(made, text.origin(cluster.begin));
        at = cluster.end;
    }
    result.append(text, {text.size(), text.size()});  // for where the text ends
    return result;
}

}  // namespace ggq
