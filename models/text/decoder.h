// The decoder of a tokenizer.json: which bytes a token stands for, and what is cut from the front of the whole text.
//
// ByteLevel, Metaspace, or a sequence of Replace, ByteFallback, Fuse and Strip in that order. The bytes of the tokens
// are then joined and read as UTF-8 (Utf8Stream), so the same text comes out whole or token by token.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ggq {

class Decoder {
public:
    Decoder() = default;
    explicit Decoder(const nlohmann::json& json);

    std::string bytes_of(const std::string& token) const;

    // Up to `front_count` times `front` is cut from the beginning of a text.
    const std::string& front() const { return front_; }
    int front_count() const { return front_count_; }

private:
    using Step = std::function<std::string(const std::string&)>;
    void add(const nlohmann::json& part, const std::string& type);
    void cut_front(const std::string& front, int count);

    std::vector<Step> steps_;
    std::string front_;
    int front_count_ = 0;
    bool fused_ = false;
};

}  // namespace ggq
