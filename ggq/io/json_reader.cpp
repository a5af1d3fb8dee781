#include "ggq/io/json_reader.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ggq/error.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A value that has begun and not ended, and the key under which the next value in it belongs.
template <typename Json>
struct OpenValue {
    Json value;
    std::string key;
    std::unordered_map<std::string, size_t> places;  // of the keys of an object whose keys keep their order
};

bool put(OpenValue<json>& object, json&& value) {
    return object.value.get_ref<json::object_t&>().insert_or_assign(object.key, std::move(value)).second;
}

// ordered_json itself looks a key up by going through all of them.
bool put(OpenValue<ordered_json>& object, ordered_json&& value) {
    auto& fields = object.value.get_ref<ordered_json::object_t&>();
    const auto [place, is_new] = object.places.emplace(object.key, fields.size());
    if (is_new) fields.emplace_back(object.key, std::move(value));
    else std::next(fields.begin(), static_cast<std::ptrdiff_t>(place->second))->second = std::move(value);
    return is_new;
}

// Builds a value from the events of nlohmann's parser, which does not recurse. What it builds is copied, written and
// taken apart by functions that do recurse, so that the depth is bounded here.
template <typename Json>
class Builder final : public nlohmann::json_sax<Json> {
public:
    explicit Builder(SameKey same_key) : same_key_(same_key) {}

    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(int64_t value) override { return add(value); }
    bool number_unsigned(uint64_t value) override { return add(value); }
    bool number_float(double value, const std::string&) override { return add(value); }
    bool string(std::string& value) override { return add(std::move(value)); }
    bool binary(typename Json::binary_t& value) override { return add(std::move(value)); }
    bool start_object(size_t) override { return open(Json::object()); }
    bool start_array(size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(std::string& key) override {
        open_.back().key = std::move(key);
        return true;
    }

    bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& error) override {
        problem = {error.what(), position > 0 ? position - 1 : 0, false};
        return false;
    }

    struct Problem {
        std::string reason;
        std::optional<size_t> at;  // nothing: found by the builder, which does not know where it is
        bool too_deep = false;
    };

    Json result;
    Problem problem;

private:
    bool open(Json&& value) {
        if (open_.size() == kMostJsonLevels)
            return stop(fmt::format("nested deeper than {} levels", kMostJsonLevels), true);
        open_.push_back({std::move(value), {}, {}});
        return true;
    }

    bool close() {
        Json value = std::move(open_.back().value);
        open_.pop_back();
        return add(std::move(value));
    }

    template <typename Value>
    bool add(Value&& value) {
        if (open_.empty()) {
            result = std::forward<Value>(value);
            return true;
        }
        OpenValue<Json>& parent = open_.back();
        if (parent.value.is_array()) {
            parent.value.push_back(Json(std::forward<Value>(value)));
            return true;
        }
        const bool is_new = put(parent, Json(std::forward<Value>(value)));
        return is_new || same_key_ == SameKey::last_counts ||
               stop("the key '" + shown(parent.key) + "' is there twice");
    }

    bool stop(std::string reason, bool too_deep = false) {
        problem = {std::move(reason), std::nullopt, too_deep};
        return false;
    }

    SameKey same_key_;
    std::vector<OpenValue<Json>> open_;
};

// Where the value begins that is nested too deep.
size_t first_too_deep(std::string_view text) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (in_string && c == '\\') ++at;
        else if (c == '"') in_string = !in_string;
        else if (in_string) continue;
        else if (c == '[' || c == '{') ++depth;
        else if (c == ']' || c == '}') --depth;
        if (depth > kMostJsonLevels) return at;
    }
    return text.size();
}

// nlohmann's text is "[json.exception...] parse error at line 1, column 2: reason", or the reason without a place.
std::string reason_of(std::string_view text, size_t at, const std::string& message) {
    for (const std::string_view literal : {"NaN", "Infinity"})
        if (text.substr(std::min(at, text.size())).starts_with(literal))
            return fmt::format("{} is not JSON; write null, or leave the key out", literal);
    const size_t overflow = message.find("number overflow parsing ");
    if (overflow != std::string::npos)
        return "the number " + shown(message.substr(message.find('\'', overflow)), 60) +
               " is beyond the range of 64-bit floats";
    const size_t column = message.find("column ");
    const size_t colon = column == std::string::npos ? column : message.find(": ", column);
    return shown(colon == std::string::npos ? message : message.substr(colon + 2));
}

template <typename Json>
Json parse(std::string_view text, const std::string& name, int64_t first_line, SameKey same_key) {
    Builder<Json> builder(same_key);
    const bool whole = Json::sax_parse(text, &builder);
    const auto refuse = [&](size_t at, const std::string& reason) {
        fail("{}: broken JSON on line {}: {}", name, first_line + line_of(text, at) - 1, reason);
    };
    // The parser takes a byte 0 for the end.
    if (const size_t zero = text.find('\0'); whole && zero != std::string_view::npos) refuse(zero, "a byte 0");
    if (whole) return std::move(builder.result);
    if (builder.problem.at) refuse(*builder.problem.at, reason_of(text, *builder.problem.at, builder.problem.reason));
    refuse(builder.problem.too_deep ? first_too_deep(text) : 0, builder.problem.reason);
    return {};
}

}  // namespace

json parse_json(std::string_view text, const std::string& name, int64_t first_line, SameKey same_key) {
    return parse<json>(text, name, first_line, same_key);
}

ordered_json parse_ordered_json(std::string_view text, const std::string& name, int64_t first_line) {
    return parse<ordered_json>(text, name, first_line, SameKey::last_counts);
}

std::string json_reason(std::string_view message) {
    const size_t end = message.starts_with("[json.exception.") ? message.find("] ") : std::string_view::npos;
    return shown(end == std::string_view::npos ? message : message.substr(end + 2));
}

std::string shown_json(const json& value) { return shown(value.dump(-1, ' ', false, json::error_handler_t::replace)); }

}  // namespace ggq
