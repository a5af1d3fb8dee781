// The fields of a JSON object read with a check and, on a wrong value, an error that names file, field and value.
// A field that is null counts as absent, as in Hugging Face's files.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace ggq {

class JsonFields {
public:
    // Both must outlive this object. `where` names the file, or the part of it, in errors.
    JsonFields(const nlohmann::json& object, std::string where);

    const std::string& where() const { return where_; }
    const nlohmann::json* find(const char* key) const;  // null if absent

    int64_t count(const char* key) const;  // a whole number (4096 or 4096.0) from 1 to 2^31 - 1; must be there
    int64_t count_or(const char* key, int64_t fallback) const;
    // A whole number from 0 to 2^31 - 1 or a list of them, which is what `expected` says; nothing if absent.
    std::vector<int32_t> numbers_or_none(const char* key, const char* expected) const;
    double positive(const char* key) const;  // finite and above zero; must be there
    double positive_or(const char* key, double fallback) const;
    bool flag_or(const char* key, bool fallback) const;
    std::string text_or(const char* key, const std::string& fallback) const;

    // Throws "<where>: <key> must be <expected>, got <value>".
    [[noreturn]] void refuse(const char* key, const char* expected) const;

private:
    const nlohmann::json& object_;
    std::string where_;
};

// What a writer puts where there is nothing to say: null, false, 0, "", [] and {}.
bool says_nothing(const nlohmann::json& value);

}  // namespace ggq
