// The picture of a plan: that it shows the plan's own numbers, and that its files are what their endings say.
#include "examples/support/memory_picture.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "examples/support/flags.h"
#include "models/train/run_plan.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace ggq::test {

namespace {

RunPlan plan_in(const char* memory) {
    PlanRequest request;
    request.shape = "llama3.2-1b";
    request.gpu = "h200";
    request.train.batch_size = 1;
    request.train.base.gpu_memory = memory;
    return RunPlan(request);
}

// What of a drawing the tests look at.
struct Seen final : Painter {
    int highest = kPictureHeight;  // of the columns
    std::vector<Color> bands;
    std::vector<Point> discs;
    std::string words;

    void fill(int, int, int, int, Color) override {}
    void columns(int, const std::vector<PixelSpan>& spans, Color color) override {
        bands.push_back(color);
        for (const PixelSpan& s : spans)
            if (s.top < s.bottom) highest = std::min(highest, s.top);
    }
    void polyline(const std::vector<Point>&, double, Color) override {}
    void disc(Point center, double, Color) override { discs.push_back(center); }
    void text(int, int, std::string_view text, Color) override { words += std::string(text) + '\n'; }
    void text_upwards(int, int, std::string_view text, Color) override { words += std::string(text) + '\n'; }
};

// Elements of an SVG as it is written here, one a line: closed, quotes in pairs, and no '<' or '&' that is not escaped.
bool is_element(const std::string& line) {
    const bool is_text = line.starts_with("<text ") && line.ends_with("</text>");
    const size_t end = line.find('>');
    if (!line.starts_with('<') || end == std::string::npos || std::ranges::count(line, '"') % 2 != 0) return false;
    if (!is_text) return end == line.size() - 1 && line[end - 1] == '/';
    const std::string words = line.substr(end + 1, line.size() - end - 1 - std::string("</text>").size());
    return words.find_first_of("<>") == std::string::npos;
}

}  // namespace

TEST_CASE("memory picture: its most bytes are the plan's, and the highest column and the mark are there") {
    for (const char* memory : {"", "2500MiB"}) {
        CAPTURE(memory);
        const RunPlan plan = plan_in(memory);
        const IterationMemory m = memory_of(*plan.on_device, "title");
        REQUIRE(m.programs.size() == 2);
        const StepPlace peak = peak_of(m);
        const ArenaUse& use = m.programs[peak.program].steps[peak.step];
        CHECK(use.live() == plan.on_device->iteration()[peak.program]->plan().live_bytes);
        CHECK(m.at(use) <= m.planned);
        CHECK(m.at(use) == m.resident() + use.live());
        CHECK(m.planned == plan.on_device->set.memory().total() + plan.on_device->set.memory().overhead);

        Seen seen;
        draw(m, seen);
        REQUIRE_FALSE(seen.discs.empty());
        CHECK(std::abs(seen.discs[0].y - seen.highest) <= 1);
        for (const char* part : {"title\n", "step of micro-batch of 512 tokens\n", "update\n", "memory (GiB)\n",
                                 "forward\n", "backward\n", "kept activations\n", "weights\n"})
            check_contains(seen.words, part);
        check_contains(seen.words, "peak: ");
    }
}

TEST_CASE("memory picture: a PNG of the right size, and an SVG that is well formed") {
    const TempDir folder;
    const IterationMemory m = memory_of(*plan_in("").on_device, "<a> & \"b\"");
    save_picture(m, folder / "plan.png");
    int width = 0, height = 0, n_channels = 0;
    unsigned char* pixels = stbi_load((folder / "plan.png").c_str(), &width, &height, &n_channels, 3);
    REQUIRE(pixels != nullptr);
    const int64_t n_white =
        std::count_if(pixels, pixels + 3 * width * height, [](unsigned char c) { return c == 255; });
    stbi_image_free(pixels);
    CHECK(width == kPictureWidth);
    CHECK(height == kPictureHeight);
    CHECK(n_white < int64_t{3} * width * height * 9 / 10);

    save_picture(m, folder / "plan.svg");
    std::istringstream svg(content_of(folder / "plan.svg"));
    std::string line, last;
    std::getline(svg, line);
    CHECK(line.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1280\" height=\"800\" "));
    int n_elements = 0;
    for (; std::getline(svg, line) && line != "</svg>"; ++n_elements) {
        CAPTURE(line);
        CHECK(is_element(line));
    }
    CHECK(line == "</svg>");
    CHECK(n_elements > 40);
    check_contains(content_of(folder / "plan.svg"), ">&lt;a&gt; &amp; \"b\"</text>");
}

TEST_CASE("memory picture: another ending is refused, and a file that cannot be written is named") {
    PlanFlags options;
    for (const char* name : {"plan.gif", "plan", ".png", "plan.svg.gz"}) {
        CAPTURE(name);
        std::string message;
        try {
            plan_flags(options).parse({"--shape", "llama3-8b", "--picture", name});
        } catch (const UsageError& error) {
            message = error.what();
        }
        CHECK(message == std::string("--picture: expected a file that ends in .png or .svg, got '") + name +
                             "'; name one such as plan.svg");
    }
    const TempDir folder;
    const IterationMemory m = memory_of(*plan_in("").on_device, "");
    for (const char* name : {"absent/plan.png", "absent/plan.svg"})
        check_contains(error_of([&] { save_picture(m, folder / name); }), name);
}

TEST_CASE("memory picture: the program writes it beside the plan that it prints") {
    const TempDir folder;
    const ProgramRun run =
        run_binary("plan", {"--shape", "llama3.2-1b", "--gpu", "h200", "--picture", (folder / "plan.svg").string()});
    CHECK(run.code == 0);
    CHECK(run.err == "");
    CHECK(run.out.starts_with("memory:"));
    check_contains(content_of(folder / "plan.svg"), "memory of an update: llama3.2-1b, ");
    const ProgramRun wrong = run_binary("plan", {"--shape", "llama3.2-1b", "--picture", "plan.gif"});
    CHECK(wrong.code == 2);
    CHECK(wrong.out == "");
    check_contains(wrong.err, "plan: --picture: expected a file that ends in .png or .svg");
}

}  // namespace ggq::test
