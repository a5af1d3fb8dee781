#include "ggq/gpu_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"

namespace ggq {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMiB = 1 << 20;

const nlohmann::json& object_of(const JsonFields& fields, const char* key) {
    static const nlohmann::json nothing = nlohmann::json::object();
    const nlohmann::json* found = fields.find(key);
    if (found && !found->is_object()) fields.refuse(key, "a JSON object");
    return found ? *found : nothing;
}

Costs::Rate rate_of(std::string op, const nlohmann::json& value, const std::string& where) {
    const JsonFields f(value, where);
    const nlohmann::json* start = f.find("start");
    if (start && !(start->is_number() && start->get<double>() >= 0)) f.refuse("start", "a number of 0 or more");
    return {std::move(op), f.positive("flops"), f.positive("bytes"), start ? start->get<double>() : 0};
}

Costs costs_of(const nlohmann::json& object, const std::string& where) {
    const JsonFields fields(object, where);
    Costs c;
    c.copy_in = fields.positive("copy_in");
    c.copy_out = fields.positive("copy_out");
    c.rest = rate_of("", object_of(fields, "rest"), where + ", rest");
    for (const auto& [op, rate] : object_of(fields, "ops").items())
        c.ops.push_back(rate_of(op, rate, where + ", " + shown_json(op)));
    return c;
}

std::string values_of(const cuda::TuningRow& row) {
    std::string text;
    for (int value : row.all()) text += (text.empty() ? "" : ", ") + std::to_string(value);
    return text;
}

void take_choices(const nlohmann::json& object, const std::string& path, GpuFile& file) {
    for (const auto& [name, value] : object.items()) {
        const cuda::TuningRow* row = cuda::tuning_row(name);
        if (row && value.is_number_integer() && row->takes(value.get<int64_t>()))
            file.model.device.tuning.*row->value = value.get<int>();
        else
            file.ignored.push_back(fmt::format("{}: tuning {} {} is passed over; {}", path, shown_json(name),
                                               shown_json(value),
                                               row ? "expected one of " + values_of(*row) : "no choice has that name"));
    }
}

Json json_of(const Costs::Rate& r) { return {{"flops", r.flops}, {"bytes", r.bytes}, {"start", r.start}}; }

Json json_of(const Costs& c) {
    Json ops = Json::object();
    for (const Costs::Rate& rate : c.ops) ops[rate.op] = json_of(rate);
    return {{"copy_in", c.copy_in}, {"copy_out", c.copy_out}, {"rest", json_of(c.rest)}, {"ops", ops}};
}

Json json_of(const cuda::Tuning& tuning) {
    Json json = Json::object();
    for (const cuda::TuningRow& row : cuda::kTuningRows) json[row.name] = tuning.*row.value;
    return json;
}

}  // namespace

GpuFile read_gpu_file(const std::filesystem::path& path) {
    const std::string name = path.string();
    const nlohmann::json json = parse_json(read_text_file(path), name);
    const JsonFields fields(json, name);
    GpuFile file;
    GpuModel& m = file.model;
    m.part = m.name = fields.text_or("card", "");
    require(!m.part.empty(), "{}: card must be the name that the driver has for the card, got nothing", name);
    m.device.capability = static_cast<int>(fields.count("capability"));
    m.device.n_sms = static_cast<int>(fields.count("multiprocessors"));
    m.device.shared_bytes = fields.count("shared_bytes");
    m.device.hopper = m.device.capability == 90;
    m.device.tuning = gpu_tuning(m.part);
    m.memory_bytes = fields.count("memory_mib") * kMiB;
    m.overhead_bytes = fields.count("overhead_mib") * kMiB;
    m.costs =
        fields.find("costs") ? costs_of(object_of(fields, "costs"), name + ", costs") : gpu_costs(m.part, m.device);
    take_choices(object_of(fields, "tuning"), name, file);
    return file;
}

void take_gpu_table(DeviceOptions& options, const std::string& path) {
    if (path.empty()) return;
    const GpuModel model = read_gpu_file(path).model;
    options.costs = model.costs;
    options.tuning = model.device.tuning;
}

std::string gpu_file_text(const GpuModel& m) {
    const Json json = {{"card", m.part},
                       {"capability", m.device.capability},
                       {"multiprocessors", m.device.n_sms},
                       {"shared_bytes", m.device.shared_bytes},
                       {"memory_mib", m.memory_bytes / kMiB},
                       {"overhead_mib", m.overhead_bytes / kMiB},
                       {"costs", json_of(m.costs)},
                       {"tuning", json_of(m.device.tuning)}};
    return json.dump(1) + "\n";
}

}  // namespace ggq
