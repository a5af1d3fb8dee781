// A file of prompts, and the answer line with whatever stands in them.
#include <nlohmann/json.hpp>

#include "models/generate/prompt_lines.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    folder.write("prompts.jsonl", fuzz::text_of(data, size));
    fuzz::refuse_or_read([&] {
        for (const PromptLine& line : read_prompt_lines(folder.path() / "prompts.jsonl"))
            if (nlohmann::json::parse(to_json_line({line.text})).at("text") != line.text) std::abort();
    });
    return 0;
}
