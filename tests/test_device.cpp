// Which device a name stands for, and on which cards a build runs.
#include "ggq/device.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "ggq/error.h"

namespace ggq::test {

TEST_CASE("names of devices") {
    CHECK(gpu_of("auto") == std::nullopt);
    CHECK(gpu_of("cpu") == std::nullopt);
    CHECK(gpu_of("cuda") == 0);
    CHECK(gpu_of("cuda:12") == 12);
    for (const char* name : {"", "cuda:", "cuda:-1", "cuda:1x", "gpu", "CUDA"})
        CHECK_THROWS_WITH_AS(
            gpu_of(name), fmt::format("`device`: expected auto, cpu, cuda or cuda:N, got '{}'", name).c_str(), Error);
    CHECK_THROWS_WITH_AS(gpu_of("cuda:0,1"),
                         "`device` cuda:0,1: several GPUs are not supported yet; name one, such as cuda:0", Error);
}

TEST_CASE("where code for an architecture runs") {
    CHECK(cuda_code_runs_on("80", 80));
    CHECK(cuda_code_runs_on("80", 86));
    CHECK(cuda_code_runs_on("80", 120));  // as PTX
    CHECK_FALSE(cuda_code_runs_on("80", 75));
    CHECK(cuda_code_runs_on("75 90a", 90));
    CHECK(cuda_code_runs_on("75 90a", 75));
    CHECK_FALSE(cuda_code_runs_on("75 90a", 86));  // PTX of 90 is too new, code of 75 too old a generation
    CHECK_FALSE(cuda_code_runs_on("75", 86));      // PTX of 75 has no bf16
    CHECK_FALSE(cuda_code_runs_on("", 90));
}

}  // namespace ggq::test
