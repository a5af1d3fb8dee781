// The plan of a run without data, weights or a GPU, and what it says of a run that does not fit.
#include "models/train/run_plan.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
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
    // 6.98 G weights of linears at 4.127 bits, the head in bf16; the embedding on the host.
    CHECK(p.at("weights_bytes").get<double>() == doctest::Approx(6.98e9 * 4.127 / 8 + 1.0507e9).epsilon(1e-3));
    CHECK(p.at("host_bytes") == 128256 * 4096 * 2);
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
    CHECK_THROWS_WITH_AS(RunPlan{request},
                         "`gpu`: expected a card that can be planned for without one (h200, h100), got 'h300'", Error);
    request.gpu = "h200";
    request.train.grad_accum = 0;
    CHECK_THROWS_WITH_AS(RunPlan{request}, "`grad_accum`: expected a number above 0, got 0", Error);
    request.train.grad_accum = 1;
    request.train.base.model = "somewhere";
    CHECK_THROWS_WITH_AS(RunPlan{request}, "expected one of `model` and `shape`", Error);
}

}  // namespace ggq::test
