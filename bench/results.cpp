// results: what the benches wrote as JSON, joined into one file or compared between two.
//
//   build/bin/results join FOLDER PART.json...     writes FOLDER/<card>.json and prints its path
//   build/bin/results compare BEFORE.json AFTER.json   prints the cases that moved beyond the noise
//   build/bin/results steps FOLDER LINES CONTEXT   takes what bench/table_gpu.sh measured into FOLDER/steps-<card>.json
//   build/bin/results readme                       makes README's table of these, at the root of the project
#include "bench/results.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "bench/readme_table.h"

namespace ggq::bench {

namespace {

nlohmann::ordered_json read_json(const std::string& file) {
    std::ifstream in(file);
    require(in.is_open(), "{}: expected a file of results, found none; run make bench-json", file);
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(in, nullptr, false);
    require(!json.is_discarded(), "{}: expected JSON as make bench-json writes it, got something else", file);
    return json;
}

void join(const std::string& folder, const std::vector<std::string>& files) {
    std::vector<nlohmann::ordered_json> parts;
    for (const std::string& file : files) {
        parts.push_back(read_json(file));
        require(parts.back().contains("context") && parts.back()["context"].contains("card"),
                "{}: expected results of a bench of ggq with its context, got none", file);
    }
    const nlohmann::ordered_json whole = joined(parts);
    std::filesystem::create_directories(folder);
    const std::string to = folder + "/" + file_name_of(whole["context"]["card"]) + ".json";
    std::ofstream out(to);
    out << to_text(whole);
    require(out.flush().good(), "{}: could not be written; is the disk full?", to);
    std::cout << to << '\n';
}

std::string conditions(const nlohmann::ordered_json& results) {
    const nlohmann::ordered_json context = results.value("context", nlohmann::ordered_json::object());
    return fmt::format("{}, commit {}, {}", context.value("device", "device not known"),
                       context.value("commit", "not known"), context.value("date", "date not known"));
}

void print_comparison(const std::string& before, const std::string& after) {
    const nlohmann::ordered_json a = read_json(before), b = read_json(after);
    std::cout << "before: " << conditions(a) << "\nafter:  " << conditions(b) << '\n';
    std::cout << table(compare(times_of(a, before), times_of(b, after)));
}

void write_text(const std::string& file, const std::string& text) {
    std::ofstream out(file);
    out << text;
    require(out.flush().good(), "{}: could not be written; is the disk full?", file);
}

std::string text_of(const std::string& file) {
    std::ifstream in(file);
    require(in.is_open(), "{}: expected a file, found none; run it at the root of the project", file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::vector<nlohmann::ordered_json> read_lines(const std::string& file) {
    std::istringstream text(text_of(file));
    std::vector<nlohmann::ordered_json> rows;
    for (std::string line; std::getline(text, line);) {
        rows.push_back(nlohmann::ordered_json::parse(line, nullptr, false));
        require(!rows.back().is_discarded(), "{}: expected lines of train_step and decode, got '{}'", file, line);
    }
    require(!rows.empty(), "{}: expected lines of train_step and decode, got none", file);
    return rows;
}

void take_steps(const std::string& folder, const std::string& lines, const std::string& context) {
    const std::vector<nlohmann::ordered_json> rows = read_lines(lines);
    const std::string card = card_of(rows.front().at("device").get<std::string>());
    const std::string file = folder + "/steps-" + file_name_of(card) + ".json";
    std::filesystem::create_directories(folder);
    const nlohmann::ordered_json before = std::filesystem::exists(file)
                                              ? read_json(file)
                                              : nlohmann::ordered_json{{"rows", nlohmann::ordered_json::array()}};
    const nlohmann::ordered_json whole = with_rows(before, rows, context_of(card, context));
    write_text(file, steps_text(whole));
    const std::string peers = folder + "/peers-" + file_name_of(card) + ".json";
    std::cout << steps_table(whole, std::filesystem::exists(peers) ? read_json(peers) : no_peers());
}

void write_readme() {
    write_text("README.md",
               with_block(text_of("README.md"), "steps", steps_table(read_json(kSteps), read_json(kPeers))));
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) {
    std::string folder, before, after, context;
    std::vector<std::string> files;
    CLI::App app("Results of benches: joined or compared", "results");
    app.require_subcommand(1);
    CLI::App* const join = app.add_subcommand("join", "one file of the results of all families");
    join->add_option("folder", folder, "where <card>.json goes")->required();
    join->add_option("files", files, "what the benches wrote")->required();
    CLI::App* const compare = app.add_subcommand("compare", "what moved beyond the noise");
    compare->add_option("before", before)->required();
    compare->add_option("after", after)->required();
    CLI::App* const steps = app.add_subcommand("steps", "what bench/table_gpu.sh measured, as one file");
    steps->add_option("folder", folder, "where steps-<card>.json goes")->required();
    steps->add_option("lines", before, "what the programs printed")->required();
    steps->add_option("context", context, "name=value,...");
    const CLI::App* const readme = app.add_subcommand("readme", "README's table of steps, from these files");
    CLI11_PARSE(app, argc, argv);
    try {
        if (*join) ggq::bench::join(folder, files);
        else if (*steps) ggq::bench::take_steps(folder, before, context);
        else if (*readme) ggq::bench::write_readme();
        else ggq::bench::print_comparison(before, after);
        return 0;
    } catch (const std::exception& e) {
        std::cerr << "results: " << e.what() << '\n';
        return 1;
    }
}
