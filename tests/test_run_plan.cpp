// The plan of a run without data, weights or a GPU, and what it says of a run that does not fit.
#include "models/train/run_plan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/memory_lines.h"
#include "models/model_figures.h"
#include "tests/file_checks.h"

namespace ggq::test {

namespace {

PlanRequest request_of(const std::string& shape, int64_t batch_size, int64_t length, const std::string& memory) {
    PlanRequest r;
    r.shape = shape;
    r.gpu = "h200";
    r.train.batch_size = batch_size;
    r.train.max_length = length;
    r.train.grad_accum = 1;
    r.train.base.gpu_memory = memory;
    return r;
}

nlohmann::json plan_of(const PlanRequest& request) { return nlohmann::json::parse(RunPlan(request).json()); }

double gib(const nlohmann::json& bytes) { return bytes.get<double>() / (1 << 30); }

}  // namespace

TEST_CASE("plan: an 8B in NF4 takes what is known of it") {
    const nlohmann::json p = plan_of(request_of("llama3-8b", 1, 512, ""));
    CHECK(p.at("trained_parameters") == 41943040);  // r 16 on all linears
    CHECK(p.at("fits") == true);
    CHECK(p.at("recomputed_steps") == 0);  // there is room
    // 6.98 G weights of linears at 4.127 bits, the head in bf16; on the host the embedding and the tokens of a sample.
    CHECK(p.at("weights_bytes").get<double>() == doctest::Approx(6.98e9 * 4.127 / 8 + 1.0507e9).epsilon(1e-3));
    CHECK(p.at("host_bytes") == 128256 * 4096 * 2 + 512 * 4);
}

TEST_CASE("plan: 70B in 24 and 12 GiB, slower by little") {
    const nlohmann::json whole = plan_of(request_of("llama3-70b", 4, 2048, "80GiB"));
    for (const char* memory : {"24GiB", "12GiB"}) {
        CAPTURE(memory);
        const nlohmann::json p = plan_of(request_of("llama3-70b", 4, 2048, memory));
        CHECK(p.at("fits") == true);
        CHECK(gib(p.at("device_bytes")) <= std::stod(memory));
        CHECK(p.at("estimated_seconds") < 1.15 * whole.at("estimated_seconds").get<double>());
    }
}

TEST_CASE("plan: a tied Llama that is trained as a whole and has to wait for pages") {
    PlanRequest request = request_of("llama3.2-1b", 1, 512, "9GiB");
    request.train.train = TrainKind::full;
    request.train.optim = OptimKind::paged_adamw_32bit;
    request.train.grad_accum = 4;
    const nlohmann::json p = plan_of(request);
    CHECK(p.at("fits") == true);
    CHECK(p.at("bytes_in") > 0);
    CHECK(p.at("micro_batches_together") == 1);  // its table is used in the first layer and in the last
}

TEST_CASE("plan: of unified memory no more than the card has room for") {
    PlanRequest request = request_of("llama3-70b", 1, 512, "24GiB");
    request.gpu = "h100";
    request.train.base.quant = std::nullopt;
    CHECK(plan_of(request).at("fits") == true);  // 131 GiB of pages in pinned memory
    request.train.base.pager = Pager::managed;
    CHECK(plan_of(request).at("fits") == false);
}

TEST_CASE("plan: long contexts of an 8B") {
    for (const auto& [length, memory] : {std::pair{65536, "16GiB"}, {102400, "24GiB"}, {262144, "80GiB"}}) {
        CAPTURE(memory);
        const PlanRequest request = request_of("llama3-8b", 1, length, memory);
        CHECK(plan_of(request).at("fits") == true);
    }
}

TEST_CASE("plan: every weight of a tied Llama and of one that is not, on a card that computes in bf16") {
    for (const char* shape : {"llama3.2-1b", "llama2-7b"}) {
        CAPTURE(shape);
        PlanRequest request = request_of(shape, 1, 512, "");
        request.train.train = TrainKind::full;
        CHECK(plan_of(request).at("fits") == true);
    }
}

// The figures that are known of these shapes under NF4 with double quantization and rank 16 on all linear layers.
TEST_CASE("plan: bits of a weight, what double quantization saves, and what is trained, by shape") {
    struct Known {
        const char* shape;
        double saved_mb, tolerance;
    };
    for (const Known& known : {Known{"llama3-8b", 325.5, 0.05}, Known{"llama2-7b", 302, 0.5},
                               Known{"llama2-70b", 3190, 5}, Known{"llama3-70b", 3190, 5}}) {
        CAPTURE(known.shape);
        const nlohmann::json p = plan_of(request_of(known.shape, 1, 512, ""));
        CHECK(std::abs(p.at("bits_a_quantized_weight").get<double>() - 4.127) < 0.0005);
        CHECK(std::abs(p.at("double_quant_saves_bytes").get<double>() / 1e6 - known.saved_mb) <= known.tolerance);
    }
    const RunPlan plan(request_of("llama3-8b", 1, 512, ""));
    const std::vector<std::string> lines = plan.on_device->plan_lines();
    REQUIRE(lines.size() > 2);
    CHECK(lines[lines.size() - 2] ==
          "trained parameters: 41,943,040 of 8,072,204,288, 0.52 %; 1,310,720 in each of 32 layers");
    CHECK(lines.back() == "quantized weights: 6,979,321,856 of 4.127 bits; double quantization saves 325.5 MB");
    const nlohmann::json p = nlohmann::json::parse(plan.json());
    CHECK(p.at("trained_parameters") == 41943040);
    CHECK(p.at("trained_parameters_by_layer") == std::vector<int64_t>(32, 1310720));
}

TEST_CASE("plan: what is trained and quantized where that is not every layer or not doubly") {
    PlanRequest request = request_of("llama3-8b", 1, 512, "");
    request.train.base.quant_spec.double_quant = false;
    request.train.lora.layers = "2";
    const RunPlan plan(request);
    const ModelFigures figures = figures_of(plan.on_device->engine.llama());
    CHECK(figures.bits_a_quantized_weight() == 4.5);
    CHECK(figures.double_quant_saves == 0);
    check_contains(figure_lines(figures).front(), "; from 0 to 1,310,720 a layer");
    CHECK(figures.n_trained == plan.on_device->engine.parameters().n_trained());
    request.train.base.quant.reset();
    CHECK(figures_of(RunPlan(request).on_device->engine.llama()).n_quantized == 0);
}

TEST_CASE("plan: the parts of the arena at its fullest are the arena to the byte") {
    for (const char* memory : {"", "6GiB", "3.3GiB"}) {
        CAPTURE(memory);
        const RunPlan plan(request_of("llama3-8b", 1, 2048, memory));
        const nlohmann::json p = nlohmann::json::parse(plan.json()), arena = p.at("arena_at_its_fullest");
        int64_t sum = 0;
        for (const char* part :
             {"kept_activations_bytes", "temporaries_bytes", "pages_bytes", "workspace_bytes", "gaps_bytes"}) {
            CHECK(arena.at(part) >= 0);
            sum += arena.at(part).get<int64_t>();
        }
        CHECK(sum == p.at("arena_bytes"));
        CHECK(arena.at("needed_bytes_by_program").at(arena.at("fullest_program").get<std::string>()) ==
              p.at("arena_bytes"));
        CHECK(arena.at("needed_bytes_by_program").size() == plan.on_device->set.programs().size());
        CHECK(arena_lines(plan.on_device->set).size() == 1 + plan.on_device->set.programs().size());
    }
}

TEST_CASE("plan: the lines of memory add up to the peak") {
    const RunPlan plan(request_of("llama3-8b", 1, 512, ""));
    double sum = 0, peak = 0;
    for (const std::string& line : plan.on_device->memory_lines()) {
        if (line.starts_with("    ") || line.find(" MiB") == std::string::npos || line.find("about") < line.size())
            continue;
        const double mebibytes = std::stod(line.substr(36));
        (line.starts_with("  peak ") ? peak : sum) += mebibytes;
    }
    CHECK(peak > 4000);
    CHECK(std::abs(sum - peak) < 0.1);  // each is rounded
}

TEST_CASE("plan: what does not fit says by how much, and what would") {
    const PlanRequest request = request_of("llama3-8b", 8, 4096, "4GiB");
    const std::string advice = RunPlan(request).advice(request);
    check_contains(advice, " MiB are missing; it would fit with ");
    check_contains(advice, "`batch_size` 1 with a larger `grad_accum`");
    const PlanRequest hopeless = request_of("llama3-8b", 1, 512, "1500MiB");
    check_contains(RunPlan(hopeless).advice(hopeless), "take a smaller model");
    CHECK(RunPlan(request_of("llama3-8b", 1, 512, "")).advice({}).empty());
}

TEST_CASE("plan: unknown names are refused with those that are known") {
    CHECK_THROWS_WITH_AS(RunPlan(request_of("llama9", 1, 512, "")), doctest::Contains("`shape`: expected "), Error);
    PlanRequest request = request_of("llama3-8b", 1, 512, "");
    request.gpu = "h300";
    CHECK_THROWS_WITH_AS(
        RunPlan{request},
        "`gpu`: expected a card that can be planned for without one (h200, h100) or a FILE.json of tune, got 'h300'",
        Error);
    request.gpu = "h200";
    request.train.grad_accum = 0;
    CHECK_THROWS_WITH_AS(RunPlan{request}, "`grad_accum`: expected a number above 0, got 0", Error);
    request.train.grad_accum = 1;
    request.train.base.model = "somewhere";
    CHECK_THROWS_WITH_AS(RunPlan{request}, "expected one of `model` and `shape`", Error);
}

}  // namespace ggq::test
