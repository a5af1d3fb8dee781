// The table of op cases: for every row of the op table a few calls at awkward shapes. What is checked about each of
// them is in test_ops.cpp and test_gradients.cpp.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ggq/graph.h"
#include "tests/case_inputs.h"

namespace ggq::test {

// Appends a call to the graph of its inputs and returns what comes out.
using Build = std::function<std::vector<Tensor>(const std::vector<Tensor>& in)>;

struct OpCase {
    std::string name;
    const OpDef* op = nullptr;  // the row that this is a case of
    std::vector<CaseInput> in;
    Build build;
    Build twin = nullptr;         // the same composed of plain ops
    double tolerance = 2e-6;      // relative, of float against double
    double floor = 0;             // magnitude of terms that cancel in a result or gradient
    double step = 1e-5;           // of central differences
    bool rounds_operand = false;  // in 16 bits: one of a product, that it computes itself, as its composed form does
    double outliers = 0;          // in 16 bits: the share of elements that may be farther off than the others
    bool only_float = false;      // there is no double form
    bool with_double = false;     // f64 is in it whatever the run's computing type: not for a GPU
};

const std::vector<OpCase>& all_op_cases();

// Those whose name contains the environment variable GGQ_CASES; all if it is not set.
const std::vector<OpCase>& op_cases();

// The same of cases of sizes at which kernels for a GPU cut their work differently: too large for differences in
// double.
const std::vector<OpCase>& large_op_cases();

// The parts of the table, by op_cases_<part>.cpp.
void add_elementwise_cases(std::vector<OpCase>& table);
void add_view_cases(std::vector<OpCase>& table);
void add_product_cases(std::vector<OpCase>& table);
void add_packed_cases(std::vector<OpCase>& table);
void add_attention_cases(std::vector<OpCase>& table);
void add_model_cases(std::vector<OpCase>& table);
void add_generate_cases(std::vector<OpCase>& table);
void add_update_cases(std::vector<OpCase>& table);
void add_large_product_cases(std::vector<OpCase>& table);
void add_large_attention_cases(std::vector<OpCase>& table);
void add_large_model_cases(std::vector<OpCase>& table);
void add_large_generate_cases(std::vector<OpCase>& table);

// "rms_norm [3,5]"
template <typename... Sizes>
std::string case_name(const OpDef& op, const std::string& variant, Sizes... sizes) {
    return std::string(op.name) + " " + to_string(Shape{sizes...}) + (variant.empty() ? "" : " ") + variant;
}

// Appends the row itself to the inputs as they are.
Build row(const OpDef& op, const ParamBlock& params = {}, int n_out = -1);

}  // namespace ggq::test
