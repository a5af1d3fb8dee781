// CaseRun: an op case as a program, with the loss sum(out * r) for random r and its gradients.
#pragma once

#include <memory>

#include "ggq/program.h"
#include "tests/op_cases.h"

namespace ggq::test {

struct RunOptions {
    DType real = DType::f32;
    bool twin = false;            // the composed form instead of the op
    bool gradients = false;       // of all inputs that want one
    DType rounding = DType::f64;  // inputs are rounded to it first
    int times = 1;                // calls of the op in the graph, on the same inputs
};

struct Result {
    std::string name;  // "output 0", "gradient 2"
    DType dtype = DType::f32;
    std::vector<std::byte> bytes;

    std::vector<double> values() const { return to_doubles(dtype, bytes); }
};

class CaseRun {
public:
    CaseRun(const OpCase& c, Backend& backend, const RunOptions& options);

    // Writes all inputs and runs.
    std::vector<Result> run();

    // The loss with one value of one input changed.
    double loss_at(size_t input, size_t element, double value);

    // Inputs that want a gradient, in the order of the results.
    static std::vector<size_t> wanted(const OpCase& c);

    const Graph& graph() const { return *graph_; }

private:
    void declare_inputs(DType real);
    void add_loss(const std::vector<Tensor>& outputs);
    void add_result(std::string name, Tensor t);

    const OpCase& case_;
    Backend& backend_;
    Store store_;
    DType rounding_;
    std::shared_ptr<Graph> graph_ = std::make_shared<Graph>();
    std::vector<Buffer*> buffers_;
    std::vector<CaseInput> weights_;  // r of each output
    std::vector<Buffer*> weight_buffers_;
    std::vector<std::pair<std::string, Tensor>> results_;
    Tensor loss_;
    std::unique_ptr<Program> program_;
    std::unique_ptr<Arena> arena_;
};

// The bytes of what `build` makes of inputs, each a type and its values as they are stored.
struct HostInput {
    TensorType type;
    const void* values;
};
std::vector<std::byte> run_once(Backend& backend, const std::string& name, const std::vector<HostInput>& inputs,
                                const std::function<Tensor(const std::vector<Tensor>& in)>& build);

}  // namespace ggq::test
