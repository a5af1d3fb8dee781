// transformers and PEFT read the adapters that training writes, and compute the same with them.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/adapted_model.h"
#include "models/generate/generator.h"
#include "tests/fixtures.h"
#include "tests/gpu.h"
#include "tests/script_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

std::vector<float> logits_with(const std::filesystem::path& adapter_folder, const std::filesystem::path& model,
                               const std::vector<int32_t>& ids) {
    const auto backend = make_cpu_backend();
    BaseOptions options;
    options.model = model;
    const AdaptedModel opened = open_adapted(options, {{adapter_folder, 1}}, {});
    ProgramSet set(*backend);
    const auto llama = opened.declare(set.store(), {});
    Generator generator(set, *llama, {});
    set.allocate([&] { opened.load(set.store(), *llama); });
    return generator.feed(ids);
}

}  // namespace

TEST_CASE("peft: the adapter of a run gives the same logits in transformers and PEFT") {
    for (Backend* device : devices()) {
        INFO("trained on ", std::string(device->name()));
        const Workplace place;
        TrainOptions options = place.options(20);
        options.base.device = device->name();
        options.base.quant = std::nullopt;
        train(options);
        const std::vector<int32_t> ids = open_model(place.model).tokenizer.encode(sample_lines(1));
        const nlohmann::json expected = {{"ids", ids}, {"logits", logits_with(place.out, place.model, ids)}};
        write_text(place / "expected.json", expected.dump());
        const auto code = run_script("compare_with_peft.py", {place.model, place.out, place / "expected.json"});
        if (!code) skipped("transformers and PEFT are not installed");
        else CHECK(code == 0);
    }
}

}  // namespace ggq::test
