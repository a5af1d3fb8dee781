// Both readers of JSON: they agree, and what they read can be written and read again.
#include <nlohmann/json.hpp>

#include "ggq/io/json_reader.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    fuzz::refuse_or_read([&] {
        const nlohmann::json value = parse_json(text, "a.json");
        const nlohmann::ordered_json in_order = parse_ordered_json(text, "a.json");
        if (nlohmann::json(in_order) != value) std::abort();
        if (parse_json(value.dump(), "a.json") != value) std::abort();
        if (shown_json(value).size() > 2000) std::abort();
    });
    fuzz::refuse_or_read([&] { parse_json(text, "a.json", 1, SameKey::refused); });
    return 0;
}
