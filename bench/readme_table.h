// README's table of steps and generation: made from what bench/table_gpu.sh measured, beside what peers were measured
// with, so that no figure is written by hand.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ggq/error.h"

namespace ggq::bench {

using OrderedJson = nlohmann::ordered_json;

inline constexpr const char* kSteps = "bench/results/steps-nvidia-h200.json";
inline constexpr const char* kPeers = "bench/results/peers-nvidia-h200.json";

// "44 % of a bf16 product, 799 TFLOP/s", "38 % of a copy, 4.2 TB/s".
inline std::string ceiling_text(const OrderedJson& row) {
    const double share = 100 * row.at("share_of_ceiling").get<double>();
    if (row.contains("ceiling_tflops"))
        return fmt::format("{:.0f} % of a bf16 product, {:.0f} TFLOP/s", share, row.at("ceiling_tflops").get<double>());
    return fmt::format("{:.0f} % of a copy, {:.1f} TB/s", share, row.at("ceiling_gb_s").get<double>() * 1e-3);
}

inline std::string figure_text(const OrderedJson& figure) {
    if (!figure.is_object()) return "";
    std::string text = fmt::format("{:.0f} tokens/s", figure.at("tokens_per_second").get<double>());
    if (figure.contains("peak_gib")) text += fmt::format(", {:.1f} GiB", figure.at("peak_gib").get<double>());
    return text;
}

// `steps`: {"rows": [{"what", "tokens_per_second", "share_of_ceiling", ...}]} as train_step and decode print them with
// --json; `peers`: {"peers": [NAME...], "rows": {WHAT: {NAME: {"tokens_per_second", "peak_gib"}}}}.
inline std::string steps_table(const OrderedJson& steps, const OrderedJson& peers) {
    std::string head = "| | figure | share of the ceiling | peak memory |", line = "|---|---|---|---|", rows;
    for (const OrderedJson& peer : peers.at("peers")) {
        head += " " + peer.get<std::string>() + " |";
        line += "---|";
    }
    for (const OrderedJson& row : steps.at("rows")) {
        const auto what = row.at("what").get<std::string>();
        rows +=
            fmt::format("| {} | {:.0f} tokens/s | {} | {:.1f} GiB{} |", what, row.at("tokens_per_second").get<double>(),
                        ceiling_text(row), row.at("peak_gib").get<double>(), row.value("note", ""));
        const OrderedJson beside = peers.at("rows").value(what, OrderedJson::object());
        for (const OrderedJson& peer : peers.at("peers"))
            rows += " " + figure_text(beside.value(peer.get<std::string>(), OrderedJson())) + " |";
        rows += "\n";
    }
    return head + "\n" + line + "\n" + rows;
}

inline OrderedJson no_peers() { return {{"peers", OrderedJson::array()}, {"rows", OrderedJson::object()}}; }

// "NVIDIA H200" of "cuda:0, NVIDIA H200, libcublas.so.13".
inline std::string card_of(const std::string& device) {
    const size_t begin = device.find(", ");
    if (!device.starts_with("cuda:") || begin == std::string::npos) return device;
    return device.substr(begin + 2, device.find(", ", begin + 2) - begin - 2);
}

// {"card": CARD, NAME: VALUE...} of "NAME=VALUE,...".
inline OrderedJson context_of(const std::string& card, const std::string& list) {
    OrderedJson context = {{"card", card}};
    for (size_t begin = 0; begin < list.size();) {
        const size_t end = std::min(list.find(',', begin), list.size()), equals = list.find('=', begin);
        if (equals < end) context[list.substr(begin, equals - begin)] = list.substr(equals + 1, end - equals - 1);
        begin = end + 1;
    }
    return context;
}

// Rows of the same name are replaced, with what they were measured on; new ones come last.
inline OrderedJson with_rows(OrderedJson steps, const std::vector<OrderedJson>& rows, const OrderedJson& context) {
    for (OrderedJson row : rows) {
        row["measured"] = context;
        OrderedJson& old = steps["rows"];
        const auto same =
            std::ranges::find_if(old, [&](const OrderedJson& r) { return r.at("what") == row.at("what"); });
        if (same == old.end()) old.push_back(std::move(row));
        else *same = std::move(row);
    }
    return steps;
}

// A row a line.
inline std::string steps_text(const OrderedJson& steps) {
    std::string text = "{\n\"rows\": [";
    const char* separator = "\n";
    for (const OrderedJson& row : steps.at("rows")) {
        text += separator + row.dump();
        separator = ",\n";
    }
    return text + "\n]\n}\n";
}

// The page with `text` between "<!-- NAME -->" and "<!-- end of NAME -->", each on a line of its own.
inline std::string with_block(const std::string& page, const std::string& name, const std::string& text) {
    const std::string begin = "<!-- " + name + " -->\n", end = "<!-- end of " + name + " -->\n";
    const size_t from = page.find(begin), to = page.find(end);
    require(from != std::string::npos && to != std::string::npos && from < to,
            "expected a page with the lines {}and {}, got none", begin, end);
    return page.substr(0, from + begin.size()) + text + page.substr(to);
}

}  // namespace ggq::bench
