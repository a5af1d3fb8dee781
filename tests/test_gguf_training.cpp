// Runs over a model in a GGUF file of mixed types: training, its adapter, answers.
#include <doctest/doctest.h>

#include "tests/file_checks.h"
#include "tests/gguf_model.h"
#include "tests/training.h"

namespace fs = std::filesystem;

namespace ggq::test {

TEST_CASE("gguf model: training, its adapter and answers over a file of mixed types") {
    const Workplace place;
    const fs::path file = place / "mixed.gguf";
    write_gguf_model(file, open_model(place.model), mixed_types);
    const Model model = open_model(file);
    CHECK(model.tokenizer.encode("Tom likes Lily.") == open_model(place.model).tokenizer.encode("Tom likes Lily."));

    TrainOptions options = place.options(6);
    options.base.model = file;
    const Observed seen = train(options);
    check_contains(seen.notes, "held as in the file: 5 F16, 5 Q4_0, 25 Q8_0");
    CHECK(seen.losses().back() < seen.losses().front());
    check_contains(content_of(place.out / "ggq_base.json"), "\"quant\": \"none\"");

    const Generated plain = generate(greedy(file, "3. Who likes Tom? "));
    const Generated trained = generate(greedy(file, "3. Who likes Tom? ", place.out));
    CHECK(trained.warnings.find("will differ") == std::string::npos);
    CHECK(trained.text != plain.text);

    options.output = place / "nf4";
    options.base.quant = DType::nf4;
    options.base.given.quant = true;
    CHECK(train(options).losses().back() < seen.losses().front());
    check_contains(content_of(place / "nf4" / "ggq_base.json"), "\"quant\": \"nf4\"");
    CHECK(generate(greedy(file, "3. Who likes Tom? ", place / "nf4")).warnings.find("differ") == std::string::npos);

    options.train = TrainKind::full;
    options.base.quant = std::nullopt;
    options.base.given = {};
    options.output = place / "full";
    check_contains(error_of([&] { train(options); }), "is a GGUF file");
}

TEST_CASE("gguf model: quant_block without a format says nothing of a packed base") {
    const Workplace place;
    write_gguf_model(place / "m.gguf", open_model(place.model), mixed_types);
    TrainOptions options = place.options(1);
    options.base.model = place / "m.gguf";
    options.base.quant_spec.block = 128;
    options.base.given.block = true;
    check_contains(error_of([&] { train(options); }), "name the format to hold them in");
}

}  // namespace ggq::test
