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

PromptLine line_of(const ordered_json& item, const std::string& place) {
    const bool chat = item.is_object() && item.contains("messages") && !item.contains("prompt");
    return chat ? PromptLine{place, "", conversation_of(item, place)} : PromptLine{place, prompt_of(item, place)};
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
