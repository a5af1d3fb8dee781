#include "models/train/lora_choice.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <numeric>
#include <string_view>

#include "ggq/error.h"

namespace ggq {

namespace {

std::vector<std::string> split_at_commas(const std::string& text) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == ',') parts.emplace_back();
        else if (c != ' ') parts.back() += c;
    }
    std::erase(parts, "");
    return parts;
}

int64_t parse_number(std::string_view text, const std::string& whole) {
    int64_t number = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    require(error == std::errc() && stop == text.data() + text.size() && number >= 0,
            "`lora_layers`: expected a number of layers or a list as 4-7,12, got '{}'", whole);
    return number;
}

std::vector<int64_t> range(int64_t first, int64_t count) {
    std::vector<int64_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), first);
    return numbers;
}

// "4-7" or "12"
std::vector<int64_t> parse_range(const std::string& part, const std::string& whole, int64_t n_layers) {
    const std::string_view text = part;
    const size_t dash = text.find('-');
    const int64_t first = parse_number(text.substr(0, dash), whole);
    const int64_t last = dash == std::string::npos ? first : parse_number(text.substr(dash + 1), whole);
    require(first <= last, "`lora_layers`: the range {} runs backwards", part);
    require(last < n_layers, "`lora_layers`: expected layers from 0 to {}, got {}", n_layers - 1, last);
    return range(first, last - first + 1);
}

bool is_name(const std::string& text) {
    return std::all_of(text.begin(), text.end(),
                       [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
}

}  // namespace

std::vector<int64_t> parse_layers(const std::string& text, int64_t n_layers) {
    if (text.empty() || text == "-1") return {};
    if (text.find_first_of("-,") == std::string::npos) {
        const int64_t count = parse_number(text, text);
        require(count >= 1 && count <= n_layers, "`lora_layers`: expected 1 to {} layers, got {}", n_layers, count);
        return range(n_layers - count, count);
    }
    std::vector<int64_t> layers;
    for (const std::string& part : split_at_commas(text)) {
        const std::vector<int64_t> some = parse_range(part, text, n_layers);
        layers.insert(layers.end(), some.begin(), some.end());
    }
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    require(!layers.empty(), "`lora_layers`: expected a number of layers or a list as 4-7,12, got '{}'", text);
    return layers;
}

LoraConfig lora_config_of(const TrainOptions& options, int64_t n_layers) {
    LoraConfig config;
    config.r = options.lora.r;
    config.alpha = options.lora.alpha;
    config.dropout = options.lora.dropout;
    config.use_rslora = options.lora.rslora;
    config.base_model = options.base.model;
    config.layers_to_transform = parse_layers(options.lora.layers, n_layers);
    const std::string& targets = options.lora.targets;
    const std::vector<std::string> names = split_at_commas(targets);
    if (targets != kAllLinear && std::all_of(names.begin(), names.end(), is_name)) config.target_modules = names;
    else config.target_pattern = targets;
    return config;
}

}  // namespace ggq
