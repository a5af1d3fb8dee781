#include "tests/op_cases.h"

#include <cstdlib>
#include <initializer_list>

namespace ggq::test {

namespace {

std::vector<OpCase> table_of(std::initializer_list<void (*)(std::vector<OpCase>&)> parts) {
    std::vector<OpCase> all;
    for (const auto add : parts) add(all);
    for (OpCase& c : all) draw_values(c.name, c.in);
    return all;
}

std::vector<OpCase> wanted_of(std::vector<OpCase> all) {
    if (const char* wanted = std::getenv("GGQ_CASES"))
        std::erase_if(all, [&](const OpCase& c) { return c.name.find(wanted) == std::string::npos; });
    return all;
}

}  // namespace

const std::vector<OpCase>& all_op_cases() {
    static const std::vector<OpCase> table =
        table_of({add_elementwise_cases, add_view_cases, add_product_cases, add_attention_cases, add_model_cases,
                  add_generate_cases, add_update_cases, add_packed_cases});
    return table;
}

const std::vector<OpCase>& op_cases() {
    static const std::vector<OpCase> table = wanted_of(all_op_cases());
    return table;
}

const std::vector<OpCase>& large_op_cases() {
    static const std::vector<OpCase> table = wanted_of(table_of(
        {add_large_product_cases, add_large_attention_cases, add_large_model_cases, add_large_generate_cases}));
    return table;
}

Build row(const OpDef& op, const ParamBlock& params, int n_out) {
    return [&op, params, n_out](const std::vector<Tensor>& in) { return in[0].graph->append(op, in, params, n_out); };
}

}  // namespace ggq::test
