// transformers and PEFT read the adapters that training writes, and compute the same with them.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "models/base_model.h"
#include "models/generate/generator.h"
#include "models/lora.h"
#include "tests/fixtures.h"
#include "tests/gpu.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

std::vector<float> logits_with(const std::filesystem::path& adapter_folder, const std::filesystem::path& model,
                               const std::vector<int32_t>& ids) {
    const auto backend = make_cpu_backend();
    const BaseModel base = open_base(model);
    const Adapter adapter = read_adapter(adapter_folder);
    WeightChoice choice;
    choice.lora = adapter.config;
    Store store(*backend);
    const auto llama = declare_llama(store, base.config, choice, base.dtypes(), {});
    Generator generator(*backend, store, *llama, {});
    store.allocate();
    const Arena arena(*backend, generator.arena_bytes());
    generator.bind(arena);
    write_frequencies(store, *llama);
    fill_weights(store, *llama, base, 0);
    load_adapter(store, *llama, adapter);
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
        const std::vector<int32_t> ids = open_base(place.model).tokenizer.encode(sample_lines(1));
        const nlohmann::json expected = {{"ids", ids}, {"logits", logits_with(place.out, place.model, ids)}};
        write_text(place / "expected.json", expected.dump());
        const std::string command =
            fmt::format("python3 '{}' '{}' '{}' '{}'", (source_dir() / "tests/compare_with_peft.py").string(),
                        place.model.string(), place.out.string(), (place / "expected.json").string());
        const int status = std::system(command.c_str());
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (code == 77 || code == 127) skipped("transformers and PEFT are not installed");
        else CHECK(code == 0);
    }
}

}  // namespace ggq::test
