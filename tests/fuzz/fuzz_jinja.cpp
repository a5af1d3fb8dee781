// A chat template, rendered for a conversation: what comes out is text, and the words of messages lie in it in order.
#include "ggq/io/utf8.h"
#include "models/jinja/template.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;
using jinja::Dict, jinja::Text, jinja::Value;

namespace {

Value message(const char* role, const char* content, int source) {
    Dict dict;
    dict.set("role", role);
    dict.set("content", Text(content, source));
    return Value::dict(std::move(dict));
}

Dict variables() {
    Dict all;
    all.set("messages", Value::list({message("user", " Zürich? \n", 0), message("assistant", "ja 🦙", 1)}));
    all.set("tools", Value());
    all.set("bos_token", "<s>");
    all.set("n", int64_t{7});
    all.set("x", 0.5);
    all.set("add_generation_prompt", true);
    return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::refuse_or_read([&] {
        const Text text = jinja::Template(fuzz::text_of(data, size), "fuzz.jinja").render(variables(), 0);
        if (invalid_utf8(text.view())) std::abort();
        size_t at = 0;
        for (const jinja::Mark& mark : text.marks()) {
            if (mark.begin < at || mark.end <= mark.begin || mark.end > text.size()) std::abort();
            at = mark.end;
        }
    });
    return 0;
}
