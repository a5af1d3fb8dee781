#include "models/generate/prompt_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "models/option_checks.h"

namespace ggq {

namespace {

using nlohmann::ordered_json;  // templates write messages and tools in the order in which they came

std::string prompt_of(const ordered_json& item, const std::string& place) {
    require(item.is_object() && item.contains("prompt"), "{}: expected an object with a key prompt, got {}", place,
            item.is_object() ? "one without" : item.type_name());
    const ordered_json& prompt = item.at("prompt");
    require(prompt.is_string(), "{}: expected prompt to be a text, got {}", place, prompt.type_name());
    return prompt;
}

Conversation conversation_of(const ordered_json& item, const std::string& place) {
    try {
        Conversation chat = read_conversation(item);
        require(role_of(chat, chat.n_messages() - 1) != "assistant",
                "the last message is of the assistant, expected one that is to be answered");
        return chat;
    } catch (const Error& error) {
        fail("{}: {}", place, error.what());
    }
}

std::map<int64_t, double> scales_of(const ordered_json& list, const std::string& place) {
    std::map<int64_t, double> scales;
    require(list.is_array(), "{}: expected a list under lora, of objects with id and scale", place);
    for (const ordered_json& item : list) {
        const bool good = item.is_object() && item.contains("id") && item["id"].is_number_unsigned() &&
                          item.contains("scale") && item["scale"].is_number();
        require(good && item["id"] <= kMostOfAnything, "{}: lora: expected an object with id and scale, got {}", place,
                shown_json(nlohmann::json(item)));
        scales[item["id"]] = item["scale"];
    }
    return scales;
}

PromptLine line_of(const ordered_json& item, const std::string& place) {
    const bool chat = item.is_object() && item.contains("messages") && !item.contains("prompt");
    PromptLine line{place, "", {}};
    if (chat) line.chat = conversation_of(item, place);
    else line.text = prompt_of(item, place);
    if (item.contains("lora") && !item["lora"].is_null()) line.lora = scales_of(item["lora"], place);
    return line;
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
        lines.push_back(line_of(parse_ordered_json(line, file, number), place));
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
