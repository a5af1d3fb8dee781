// Prompts and vocabularies of whole models: what is fed of a prompt, what is said of it, and which pairs of tokenizer
// and model are warned of.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "ggq/io/safetensors.h"
#include "models/config.h"
#include "models/generate/prompt.h"
#include "models/untrained_end.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/small_tokenizers.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kEmbedding = "model.embed_tokens.weight";

void change_json(const fs::path& file, const std::function<void(json&)>& change) {
    json content = fs::exists(file) ? json::parse(content_of(file)) : json::object();
    change(content);
    write_text(file, content.dump());
}

json added(int id, const char* content) {
    return {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
}

// The model's tensors, changed by `change` and written again.
void change_tensors(const fs::path& model,
                    const std::function<void(const std::string&, std::vector<std::byte>&)>& change) {
    std::map<std::string, std::vector<std::byte>> bytes;
    FileTensors tensors;
    {
        const SafetensorsFile file(model / "model.safetensors");
        for (const auto& [name, tensor] : file.tensors()) {
            const auto* data = static_cast<const std::byte*>(tensor.data);
            bytes[name].assign(data, data + tensor.n_bytes());
            change(name, bytes[name]);
            tensors[name] = tensor;
        }
    }
    for (auto& [name, tensor] : tensors) tensor.data = bytes[name].data();
    write_safetensors(model / "model.safetensors", tensors);
}

// Gives rows of the embedding the bits of row `from`.
void copy_rows(const fs::path& model, int64_t from, const std::vector<int64_t>& to) {
    const SafetensorsFile file(model / "model.safetensors");
    const auto n = static_cast<size_t>(file.at(kEmbedding).n_bytes() / file.at(kEmbedding).shape[0]);
    change_tensors(model, [&](const std::string& name, std::vector<std::byte>& data) {
        for (const int64_t row : to)
            if (name == kEmbedding)
                std::memcpy(&data[static_cast<size_t>(row) * n], &data[static_cast<size_t>(from) * n], n);
    });
}

}  // namespace

TEST_CASE("prompt: nothing stands behind it, and BOS stands once") {
    const Workplace place;
    const Generated plain = generate(greedy(place.model, "Once upon a time"));
    CHECK(plain.result.prompt_tokens == 5);

    const fs::path flagged = place.copy_of_model("flagged");
    change_json(flagged / "tokenizer_config.json", [](json& c) { c["add_eos_token"] = true; });
    const fs::path closed = place.copy_of_model("closed");
    change_json(closed / "tokenizer.json", [](json& t) {
        t["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}});
        t["post_processor"]["special_tokens"]["</s>"] = {{"id", "</s>"}, {"ids", {2}}, {"tokens", {"</s>"}}};
    });
    for (const fs::path& model : {flagged, closed}) {
        const Generated same = generate(greedy(model, "Once upon a time"));
        CHECK(same.result.prompt_tokens == 5);
        CHECK(same.text == plain.text);
    }
    const Generated twice = generate(greedy(place.model, "<s>Once upon a time"));
    CHECK(twice.result.prompt_tokens == 5);
    CHECK(twice.text == plain.text);
    check_contains(twice.notes, "the prompt begins with the BOS that the tokenizer adds; no second one was added");
    CHECK(plain.notes.find("BOS") == std::string::npos);
}

TEST_CASE("prompt: its template") {
    const Workplace place;
    GenerateOptions options = greedy(place.model, "Say hi");
    options.max_new_tokens = 1;
    options.template_name = "alpaca-short";
    const int64_t n_short = generate(options).result.prompt_tokens;
    options.template_name = "alpaca";
    CHECK(generate(options).result.prompt_tokens > n_short);
    options.template_name = "nothing";
    check_contains(error_of([&] { generate(options); }),
                   "`template`: expected alpaca, alpaca-short, chat, a chat template (chatml, llama2, ");
    options.template_name = "alpaca";
    options.system = "Be brief.";
    check_contains(error_of([&] { generate(options); }), "`system` is part of a chat template");
}

TEST_CASE("prompt: in a chat template, which writes BOS and says how an answer ends") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    GenerateOptions options = greedy(model, "Once");
    options.template_name = "chat";
    check_contains(error_of([&] { generate(options); }), "has no chat template; name one with `template` (chatml, ");
    write_text(
        model / "chat_template.jinja",
        "<s>{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %};{% "
        "endfor %}{% if add_generation_prompt %}assistant: {% endif %}");
    const Tokenizer tokenizer = Tokenizer::load(model);
    options.system = "Be brief.";
    const PromptForm form = prompt_form(options, model);
    CHECK(form.end_of_answer(tokenizer) == tokenizer.id_of("</s>"));
    const std::vector<int32_t> ids = encode_prompt("Once", form, tokenizer, tokenizer.vocab_size()).ids;
    CHECK(ids == tokenizer.encode("<s>system: Be brief.;user: Once;assistant: ", {.add_special = false}));
    CHECK(ids[0] == tokenizer.bos_id());
    CHECK(generate(options).result.prompt_tokens == std::ssize(ids));
}

TEST_CASE("prompt: a tokenizer larger than the model is warned of, a token beyond the model refused by name") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    change_json(model / "tokenizer.json", [](json& t) { t["added_tokens"].push_back(added(512, "<pad>")); });
    const std::string expected =
        "the tokenizer has 513 tokens, the model's vocabulary 512; a text with a token beyond it is refused";
    const Generated answer = generate(greedy(model, "Once upon a time"));
    CHECK(answer.result.prompt_tokens == 5);
    check_contains(answer.warnings, expected);
    check_contains(error_of([&] { generate(greedy(model, "a<pad>")); }),
                   "`prompt`: token 512 ('<pad>') is beyond the model's vocabulary of 512");

    TrainOptions options = place.options(1);
    options.base.model = model;
    options.plan = true;
    check_contains(train(options).warnings, expected);
    write_text(place.data, "{\"text\": \"a\"}\n{\"text\": \"a<pad>\"}");
    check_contains(error_of([&] { train(options); }),
                   "line 2: token 512 ('<pad>') is beyond the model's vocabulary of 512");
}

TEST_CASE("prompt: bytes without a token are left out and counted") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    change_json(model / "tokenizer.json", [](json& t) {
        t["model"]["byte_fallback"] = false;
        t["model"]["unk_token"] = nullptr;
    });
    const Generated answer = generate(greedy(model, "Once upon a time\x16\u6f22"));
    CHECK(answer.result.prompt_tokens == 5);
    check_contains(answer.notes, "4 bytes of the prompt are left out: the vocabulary has no token for them");
    TrainOptions options = place.options(1);
    options.base.model = model;
    options.plan = true;
    write_text(place.data, "{\"text\": \"a\\u0016b\"}\n{\"text\": \"a\"}");
    const Observed run = train(options);
    check_contains(run.notes, "bytes without a token: 1\n");
    check_contains(run.warnings, "1 bytes in 1 records are left out: the vocabulary has no token for them");
}

TEST_CASE("prompt: an empty answer of a model with a chat template is explained") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    const auto first = static_cast<size_t>(0);
    GenerateOptions options = greedy(model, "Once upon a time");
    const std::string text = generate(options).text;
    // Whatever comes first ends the answer now.
    const std::vector<int32_t> next = Tokenizer::load(model).encode("Once upon a time" + text);
    change_config(model, "eos_token_id", next.at(first + 5));
    const Generated silent = generate(options);
    CHECK(silent.result.new_tokens == 0);
    CHECK(silent.warnings == "");
    write_text(model / "chat_template.jinja", "{{ messages }}");
    check_contains(generate(options).warnings,
                   "the answer is empty: this model was taught to talk in the form of its chat template");
}

TEST_CASE("prompt: logits that are not finite end a generation with an error") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    change_tensors(model, [](const std::string& name, std::vector<std::byte>& data) {
        if (name != "model.norm.weight") return;
        std::vector<float> huge(data.size() / sizeof(float), std::numeric_limits<float>::max());
        std::memcpy(data.data(), huge.data(), data.size());
    });
    const ProgramRun run = run_binary("generate", {"--model", model, "--prompt", "Once", "--quiet", "--device", "cpu"});
    CHECK(run.code == 1);
    CHECK(run.out == "");
    check_contains(run.err, "generate: logits: expected finite numbers, got NaN or infinity after 2 tokens");
}

TEST_CASE("prompt: a base whose end token was never trained is warned of") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    CHECK_FALSE(warn_of_untrained_end(open_model(model)));
    copy_rows(model, 2, {0, 3, 300, 301});
    const std::string expected =
        "the end token '</s>' (2) was never trained in this base: its embedding equals that of 4 other tokens, "
        "'<unk>' (0), ";
    check_contains(warn_of_untrained_end(open_model(model)).value_or("nothing"), expected);
    TrainOptions options = place.options(1);
    options.base.model = model;
    options.plan = true;
    check_contains(train(options).warnings, expected);
    options.train = TrainKind::full;
    options.from_scratch = true;
    CHECK(train(options).warnings.find("never trained") == std::string::npos);
}

TEST_CASE("prompt: 300,000 end tokens take no longer than few") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    json ids = json::array();
    for (int id = 0; id < 300'000; ++id) ids.push_back(1000 + id);
    change_config(model, "eos_token_id", ids);
    CHECK(read_config(model).eos_token_ids.size() == 300'000);
    CHECK(generate(greedy(model, "Once upon a time")).result.new_tokens > 0);
}

TEST_CASE("prompt: escape sequences out of files are shown, not obeyed") {
    const Workplace place;
    const auto no_control = [](const ProgramRun& run) {
        for (const std::string* text : {&run.out, &run.err})
            CHECK(std::ranges::none_of(*text, [](char c) { return c != '\n' && c != '\t' && (c & 0xE0) == 0; }));
    };
    write_text(place.data, R"({"foo\u001b]0;owned\u0007":1})");
    std::vector<std::string> args = {"--model", place.model, "--data", place.data, "--plan", "--device", "cpu"};
    const ProgramRun keys = run_binary("train", args);
    no_control(keys);
    check_contains(keys.err, "foo\\u001b]0;owned\\u0007");

    const fs::path model = place.copy_of_model();
    change_config(model, "hidden_act", "\x1b[31mRED");
    const ProgramRun config = run_binary("generate", {"--model", model, "--prompt", "a", "--device", "cpu"});
    no_control(config);
    check_contains(config.err, "RED");

    const ProgramRun name = run_binary("generate", {"--model", "/no\x1b[31m\xff/such", "--prompt", "a"});
    no_control(name);
    check_contains(name.err, "/no\\u001b[31m\\xff/such");

    write_text(place.data, "{\"text\": \"one\\u0000two\\u009b31m\"}\n{\"text\": \"three\"}");
    args.insert(args.end(), {"--show-samples", "5"});
    const ProgramRun samples = run_binary("train", args);
    no_control(samples);
    check_contains(samples.err, "one\\u0000two\\u009b31m");
    check_contains(samples.err, "three");
    CHECK(samples.err.find("\xC2\x9B") == std::string::npos);
    CHECK(std::ranges::count(samples.err, '\n') > 20);
}

}  // namespace ggq::test
