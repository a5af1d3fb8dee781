// Every op at every case of the table: float against double, against its composed form, twice, with other numbers of
// threads, on every instruction set, in poisoned memory, and with wrong inputs. Gradients ride along in each of them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "ggq/error.h"
#include "tests/case_run.h"
#include "tests/compare.h"
#include "tests/fixtures.h"
#include "tests/guarded_backend.h"

namespace ggq::test {

namespace {

Backend& cpu() {
    static const std::unique_ptr<Backend> backend = make_cpu_backend(1);
    return *backend;
}

bool is_real(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

void check_close(const std::vector<Result>& actual, const std::vector<Result>& expected, double tolerance, double floor,
                 double outliers = 0) {
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
        INFO(actual[i].name, " in ", name(actual[i].dtype));
        if (is_real(actual[i].dtype))
            CHECK_EQ(difference(actual[i].values(), expected[i].values(), tolerance, floor, 0, outliers), "");
    }
}

void check_same_bits(const std::vector<Result>& actual, const std::vector<Result>& expected) {
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
        INFO(actual[i].name, " in ", name(actual[i].dtype));
        if (actual[i].bytes == expected[i].bytes) continue;
        CHECK_EQ(difference(actual[i].values(), expected[i].values(), 0), "");
        FAIL_CHECK("bits differ");
    }
}

std::vector<Result> results(const OpCase& c, Backend& backend, const RunOptions& options) {
    return CaseRun(c, backend, options).run();
}

// A backend on the instruction set of that name, or null if this machine lacks it.
std::unique_ptr<Backend> backend_on(CpuIsa isa) {
    setenv("GGQ_CPU_ISA", name(isa), 1);
    const bool present = detect_cpu_isa() == isa;
    auto backend = make_cpu_backend(1);
    unsetenv("GGQ_CPU_ISA");
    return present ? std::move(backend) : nullptr;
}

}  // namespace

TEST_CASE("every op of the table has a case, and every case an op of the table") {
    std::set<std::string> covered, expected;
    for (const OpCase& c : all_op_cases()) covered.insert(c.op->name);
    for (const OpDef* op : op_table()) expected.insert(op->name);
    CHECK_EQ(difference(covered, expected), "");
}

TEST_CASE("no two cases have one name") {
    std::set<std::string> names, twice;
    for (const OpCase& c : all_op_cases())
        if (!names.insert(c.name).second) twice.insert(c.name);
    CHECK_EQ(difference(twice, {}), "");
    if (op_cases().empty() && large_op_cases().empty()) skipped("no case of an op has a name that holds GGQ_CASES");
}

TEST_CASE("what a case draws hangs on its name and nothing else") {
    std::vector<CaseInput> first{normal({3}), below(DType::i32, {3}, 1000)}, second = first, other = first;
    draw_values("a case", first);
    draw_values("another", other);
    draw_values("a case", second);
    for (size_t i = 0; i < first.size(); ++i) {
        CHECK(first[i].values == second[i].values);
        CHECK(first[i].values != other[i].values);
    }
}

TEST_CASE("a case contains the op that it is named for") {
    for (const OpCase& c : op_cases()) {
        CAPTURE(c.name);
        const CaseRun in_float(c, cpu(), {}), in_double(c, cpu(), {.real = c.only_float ? DType::f32 : DType::f64});
        const auto is_it = [&](const Step& s) { return s.op == c.op; };
        CHECK((std::ranges::any_of(in_float.graph().steps(), is_it) ||
               std::ranges::any_of(in_double.graph().steps(), is_it)));
    }
}

TEST_CASE("float agrees with double, values and gradients") {
    for (const OpCase& c : op_cases()) {
        if (c.only_float) continue;
        CAPTURE(c.name);
        check_close(results(c, cpu(), {.real = DType::f32, .gradients = true}),
                    results(c, cpu(), {.real = DType::f64, .gradients = true}), c.tolerance, c.floor);
    }
}

// What is rounded to 16 bits on the way may fall to the other side in double.
TEST_CASE("slow: float agrees with double at the sizes of large cases") {
    for (const OpCase& c : large_op_cases()) {
        CAPTURE(c.name);
        check_close(results(c, cpu(), {.real = DType::f32, .gradients = true}),
                    results(c, cpu(), {.real = DType::f64, .gradients = true}), std::max(1e-5, c.tolerance), c.floor,
                    c.rounds_operand ? 1e-3 : 0);
    }
}

TEST_CASE("an op agrees with its form composed of plain ops, values and gradients") {
    for (const OpCase& c : op_cases()) {
        if (!c.twin) continue;
        CAPTURE(c.name);
        check_close(results(c, cpu(), {.real = DType::f64, .gradients = true}),
                    results(c, cpu(), {.real = DType::f64, .twin = true, .gradients = true}), 1e-11, c.floor);
    }
}

TEST_CASE("the same bits twice, and with any number of threads") {
    const auto three = make_cpu_backend(3);
    for (const OpCase& c : op_cases()) {
        CAPTURE(c.name);
        CaseRun run(c, cpu(), {.gradients = true});
        const std::vector<Result> once = run.run();
        check_same_bits(run.run(), once);
        check_same_bits(results(c, *three, {.gradients = true}), once);
    }
}

TEST_CASE("instruction sets agree to rounding") {
    const auto portable = backend_on(CpuIsa::portable);
    REQUIRE(portable);
    for (CpuIsa isa : {CpuIsa::avx2, CpuIsa::avx512}) {
        const auto backend = backend_on(isa);
        if (!backend) continue;
        INFO("instruction set: ", name(isa));
        for (const OpCase& c : op_cases()) {
            CAPTURE(c.name);
            check_close(results(c, *backend, {.gradients = true}), results(c, *portable, {.gradients = true}),
                        c.tolerance, c.floor);
        }
    }
}

TEST_CASE("outputs are written whole and nothing else is, in poisoned memory") {
    for (int n_threads : {1, 3}) {
        GuardedBackend guarded(n_threads);
        for (const OpCase& c : op_cases()) {
            if (n_threads > 1 && c.in[0].type.shape.n_elems() < 1000) continue;
            CAPTURE(c.name);
            check_same_bits(results(c, guarded, {.gradients = true}), results(c, cpu(), {.gradients = true}));
            if (n_threads == 1 && !c.only_float) results(c, guarded, {.real = DType::f64, .gradients = true});
        }
    }
}

namespace {

// One call of a case's op, with the types of its inputs free to be spoiled.
struct WrongCall {
    const OpDef& op;
    std::vector<TensorType> in;
    ParamBlock params;
    Signature signature;

    explicit WrongCall(const OpCase& c) : op(*c.op) {
        const CaseRun run(c, cpu(), {});
        for (const Step& step : run.graph().steps()) {
            if (step.op != c.op) continue;
            std::vector<TensorType> types;
            const OpCall call = run.graph().call(step, types);
            in.assign(call.in.begin(), call.in.end());
            params = step.params;
            signature = parse_signature(op, std::ssize(in));
        }
    }

    std::string message(const std::vector<TensorType>& types) const {
        try {
            output_types({op, types, {}, params, "layers.3"}, signature);
        } catch (const Error& e) {
            return e.what();
        }
        return "accepted";
    }

    void check_message(size_t i, const std::vector<TensorType>& types) const {
        const std::string start = fmt::format("[{}] layers.3 input {}: expected ", op.name, signature.in[i].name);
        CHECK_EQ(message(types).substr(0, start.size()), start);
    }
};

DType wrong_dtype(std::string_view allowed) { return allowed == "i32" ? DType::f32 : DType::i32; }

}  // namespace

TEST_CASE("an input of a wrong dtype or rank is refused by name") {
    std::set<const OpDef*> seen;
    for (const OpCase& c : op_cases()) {
        if (!seen.insert(c.op).second) continue;
        CAPTURE(c.name);
        const WrongCall call(c);
        bool any_shape_bound = false;
        for (size_t i = 0; i < call.in.size(); ++i) {
            CAPTURE(call.signature.in[i].name);
            if (call.signature.in[i].type != "any") {
                std::vector<TensorType> types = call.in;
                types[i].dtype = wrong_dtype(call.signature.in[i].type);
                call.check_message(i, types);
            }
            const OpArg& arg = call.signature.in[i];
            const bool free_shape = (arg.dims == "..." && !any_shape_bound) || (arg.dims == "*" && arg.inout);
            any_shape_bound |= free_shape;
            if (free_shape) continue;
            std::vector<TensorType> types = call.in;
            types[i].shape.dims[types[i].shape.rank++] = 1;
            call.check_message(i, types);
        }
    }
}

TEST_CASE("an input whose sizes contradict another's is refused") {
    std::set<const OpDef*> seen;
    for (const OpCase& c : op_cases()) {
        if (!seen.insert(c.op).second) continue;
        CAPTURE(c.name);
        const WrongCall call(c);
        std::string all_dims;
        for (const OpArg& arg : call.signature.in) all_dims += std::string(arg.dims) + ",";
        for (size_t i = 0; i < call.in.size(); ++i) {
            const std::string_view dims = call.signature.in[i].dims;
            for (int axis = 0; axis < call.in[i].shape.rank && dims != "..."; ++axis) {
                const char letter = dims[static_cast<size_t>(2 * axis)];
                if (std::ranges::count(all_dims, letter) < 2 || dims.find('/') != std::string_view::npos) continue;
                CAPTURE(letter);
                std::vector<TensorType> types = call.in;
                types[i].shape[axis] += 2;
                CHECK_NE(call.message(types), "accepted");
            }
        }
    }
}

}  // namespace ggq::test
