#include "models/text/decoder.h"

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"
#include "models/text/bpe.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

constexpr int kMostCut = 64;
constexpr size_t kMostGrowth = 16, kMostGrowthOfAny = 256;

std::string replace_all(const std::string& text, const Regex& pattern, const std::string& content) {
    std::string result;
    size_t at = 0;
    for (const TextRange& match : pattern.find_all(text)) {
        result.append(text, at, match.begin - at).append(content);
        at = match.end;
    }
    return result.append(text, at);
}

std::string byte_or_text(const std::string& token) {
    const int byte = byte_of_fallback_token(token);
    return byte < 0 ? token : std::string(1, static_cast<char>(byte));
}

}  // namespace

Decoder::Decoder(const nlohmann::json& json) {
    if (json.is_null()) {  // without a decoder tokens are joined with spaces
        steps_.push_back([](const std::string& token) { return " " + token; });
        cut_front(" ", 1);
        return;
    }
    bool byte_fallback = false;
    for (const nlohmann::json* part : component_parts(json, "decoder", "decoders")) {
        const std::string type = component_type(*part, "decoder");
        require(!fused_ || type == "Strip", "decoder: only Strip may follow Fuse, got {}", type);
        require(!byte_fallback || type == "Fuse", "decoder: only Fuse may follow ByteFallback, got {}", type);
        add(*part, type);
        byte_fallback = type == "ByteFallback";
    }
}

void Decoder::add(const nlohmann::json& part, const std::string& type) {
    if (type == "ByteLevel") {
        steps_.push_back([](const std::string& token) { return byte_level_bytes(token); });
    } else if (type == "ByteFallback") {
        steps_.push_back(byte_or_text);
    } else if (type == "Fuse") {
        fused_ = true;
    } else if (type == "Replace") {
        const Regex pattern = component_pattern(part, "decoder Replace");
        const std::string content = component_content(part, "decoder Replace");
        steps_.push_back([=](const std::string& token) { return replace_all(token, pattern, content); });
    } else if (type == "Metaspace") {
        const Regex mark(Regex::quote(metaspace_mark(part, "decoder Metaspace")));
        steps_.push_back([=](const std::string& token) { return replace_all(token, mark, " "); });
        const JsonFields fields(part, "decoder Metaspace");
        const std::string old_scheme = fields.flag_or("add_prefix_space", true) ? "always" : "never";
        if (fields.text_or("prepend_scheme", old_scheme) != "never") cut_front(" ", 1);
    } else if (type == "Strip") {
        require(fused_ && part.value("stop", 0) == 0 && part.at("start").is_number_integer() && part["start"] >= 0 &&
                    part["start"] <= kMostCut,
                "decoder Strip: expected one after Fuse that cuts the start only, at most {} times, got {}", kMostCut,
                shown_json(part));
        cut_front(component_content(part, "decoder Strip"), part["start"]);
    } else {
        refuse_type("decoder", type, "ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence");
    }
}

void Decoder::cut_front(const std::string& front, int count) {
    front_ = front;
    front_count_ = count;
}

std::string Decoder::bytes_of(const std::string& token) const {
    std::string bytes = token;
    const size_t most = token.size() * kMostGrowth + kMostGrowthOfAny;
    for (const Step& step : steps_) {
        bytes = step(bytes);
        require(bytes.size() <= most, "decoder: makes {} bytes of token '{}', expected at most {}", bytes.size(),
                shown(token), most);
    }
    return bytes;
}

}  // namespace ggq
