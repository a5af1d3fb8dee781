#include "tests/op_cases.h"

#include <cstdlib>

namespace ggq::test {

const std::vector<OpCase>& op_cases() {
    static const std::vector<OpCase> table = [] {
        std::vector<OpCase> all;
        add_elementwise_cases(all);
        add_view_cases(all);
        add_product_cases(all);
        add_attention_cases(all);
        add_model_cases(all);
        add_update_cases(all);
        if (const char* wanted = std::getenv("GGQ_CASES"))
            std::erase_if(all, [&](const OpCase& c) { return c.name.find(wanted) == std::string::npos; });
        return all;
    }();
    return table;
}

Build row(const OpDef& op, const ParamBlock& params, int n_out) {
    return [&op, params, n_out](const std::vector<Tensor>& in) { return in[0].graph->append(op, in, params, n_out); };
}

}  // namespace ggq::test
