// The kinds of what can be wrong with training data.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ggq {

enum class LintKind : uint8_t {
    unreadable,
    no_label,
    empty_answer,
    open_answer,
    double_bos,
    double_end,
    turn_order,
    overlap,
    untrained_token,
    too_long,
    cut,
    duplicate,
    special_text,
    unknown_special,
    prompt_mismatch,
    other_template,
    no_token,
    labels,
};

struct LintKindRow {
    LintKind kind;
    std::string_view name;
    bool is_error;
    std::string_view advice;
};

inline constexpr std::array kLintKinds = {
    LintKindRow{LintKind::unreadable, "unreadable", true, "no record, or one that the template or tokenizer refuses"},
    LintKindRow{LintKind::no_label, "no-label", true,
                "teaches nothing; raise `max_length`, or look with `show_samples`"},
    LintKindRow{LintKind::empty_answer, "empty-answer", true, "teaches to say nothing; take the record out"},
    LintKindRow{LintKind::open_answer, "open-answer", true, "does not teach where to stop; mend the template"},
    LintKindRow{LintKind::double_bos, "double-bos", true, "the model never sees that; take one out of the template"},
    LintKindRow{LintKind::double_end, "double-end", true, "take the end token out of the data or the template"},
    LintKindRow{LintKind::turn_order, "turn-order", true, "user and assistant take turns, the last is the assistant's"},
    LintKindRow{LintKind::overlap, "overlap", true, "the validation loss is of what was learned by heart"},
    LintKindRow{LintKind::untrained_token, "untrained-token", true, "the base never learned it; take another template"},
    LintKindRow{LintKind::too_long, "too-long", false, "left out; raise `max_length`, or let `on_long` cut or split"},
    LintKindRow{LintKind::cut, "cut", false, "does not teach where to stop; raise `max_length`"},
    LintKindRow{LintKind::duplicate, "duplicate", false, "counts more than others"},
    LintKindRow{LintKind::special_text, "special-text", false, "words of the data become a special token"},
    LintKindRow{LintKind::unknown_special, "unknown-special", false, "looks like a special token, and is letters here"},
    LintKindRow{LintKind::prompt_mismatch, "prompt-mismatch", false, "answers are learned behind another prompt"},
    LintKindRow{LintKind::other_template, "other-template", false,
                "not the form in which the model was taught to talk"},
    LintKindRow{LintKind::no_token, "no-token", false, "left out: the vocabulary has no token for it"},
    LintKindRow{LintKind::labels, "labels", false, "look at the masks with `show_samples`"},
};

constexpr const LintKindRow& row_of(LintKind kind) { return kLintKinds[static_cast<size_t>(kind)]; }

}  // namespace ggq
