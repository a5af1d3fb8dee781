#include "models/generate/prompt_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"

namespace ggq {

namespace {

std::string prompt_of(const nlohmann::json& item, const std::string& place) {
    require(item.is_object() && item.contains("prompt"), "{}: expected an object with a key prompt, got {}", place,
            item.is_object() ? "one without" : item.type_name());
    const nlohmann::json& prompt = item.at("prompt");
    require(prompt.is_string(), "{}: expected prompt to be a text, got {}", place, prompt.type_name());
    return prompt;
}

}  // namespace

std::vector<PromptLine> read_prompt_lines(const std::filesystem::path& path) {
    const std::string file = path.string(), text = read_text_file(path, InputFile::Takes::pipes_too);
    std::vector<PromptLine> lines;
    int64_t number = 0;
    for (std::string_view rest = text; !rest.empty();) {
        const std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size()));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        ++number;
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        const std::string place = fmt::format("{}: line {}", file, number);
        lines.push_back({place, prompt_of(parse_json(line, file, number), place)});
    }
    require(!lines.empty(), "{}: expected JSON lines with a key prompt, got none", file);
    return lines;
}

std::string to_json_line(const AnswerLine& answer) {
    const nlohmann::ordered_json line = {{"text", answer.text},
                                         {"prompt_tokens", answer.prompt_tokens},
                                         {"new_tokens", answer.new_tokens},
                                         {"stop_reason", answer.stop_reason}};
    return line.dump();
}

}  // namespace ggq
