#include "models/evaluate/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ggq/error.h"
#include "ggq/stop.h"
#include "models/clock.h"
#include "models/evaluate/task_prompts.h"
#include "models/figures.h"
#include "models/generate/batch_answers.h"
#include "models/text/records.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

// A file's questions and those that stand before each of them.
template <typename Question>
struct Test {
    fs::path file;
    std::vector<Question> questions, shots;
};

// "x/SUBJECT_dev.csv" of a folder x for "SUBJECT_test.csv".
fs::path shots_file(const fs::path& shots, const fs::path& asked) {
    if (!is_folder(shots)) return shots;
    std::string stem = asked.stem().string();
    if (stem.ends_with("_test")) stem.erase(stem.size() - 5);
    return shots / (stem + "_dev" + asked.extension().string());
}

template <typename Question, typename Read>
Test<Question> read_test(const fs::path& file, const EvaluateOptions& o, const Read& read) {
    const int64_t n_shots = o.shots, limit = o.limit.value_or(-1);
    const bool own = n_shots > 0 && o.shots_data.empty();
    Test<Question> test{file, read(file, own && limit >= 0 ? limit + n_shots : limit), {}};
    if (n_shots == 0) return test;
    test.shots = own ? test.questions : read(shots_file(o.shots_data, file), n_shots);
    require(std::ssize(test.shots) >= n_shots + (own ? 1 : 0), "{}: expected {} questions as shots{}, got {} in all",
            own ? file.string() : o.shots_data, n_shots, own ? " and one to be asked" : "", test.shots.size());
    test.shots.resize(static_cast<size_t>(n_shots));
    if (own) test.questions.erase(test.questions.begin(), test.questions.begin() + n_shots);
    return test;
}

struct Asked {
    size_t file;
    std::string answer;  // that is right
};

class Task {
public:
    Task(EvaluateOptions options, const Events& events, Profile* profile)
        : options_(std::move(options)), events_(events), profile_(profile) {}

    TaskResult run() {
        validate(options_);
        backend_ = make_backend(options_.base);
        events_.tell(settle_device(options_.base, *backend_));
        events_.tell("device: " + backend_->description());
        opened_.emplace(open_adapted(options_.base, options_.adapters, events_));
        opened_->check_base(events_);
        events_.warn(opened_->model.warnings);
        form_ = prompt_form(prompt_options(), opened_->model.folder);
        const std::vector<fs::path> files = data_files(options_.data);
        for (const fs::path& file : files) result_.files.push_back({file.filename().string(), {}});
        options_.task == EvalTask::choices ? ask_choices(files) : ask_sums(files);
        if (result_.n_fewer_shots > 0)
            events_.warn(fmt::format("{} questions had no room for {} shots, and got fewer", result_.n_fewer_shots,
                                     options_.shots));
        if (result_.n_too_long > 0)
            events_.warn(
                fmt::format("{} questions have no room in the {} tokens that the model takes; they were left out",
                            result_.n_too_long, positions()));
        return std::move(result_);
    }

private:
    const Tokenizer& tokenizer() const { return opened_->model.tokenizer; }
    int64_t positions() const { return opened_->model.config.max_position_embeddings; }

    GenerateOptions prompt_options() const {
        GenerateOptions o;
        o.template_name = options_.template_name;
        o.chat_template = options_.chat_template;
        o.system = options_.system;
        return o;
    }

    Ids encoded(const std::string& text, const Conversation& chat, const std::string& name) const {
        const int64_t vocabulary = opened_->model.config.vocab_size;
        const bool as_chat = form_.chat.has_value();
        return (as_chat ? encode_prompt(chat, form_, tokenizer(), vocabulary, name)
                        : encode_prompt(text, form_, tokenizer(), vocabulary, name))
            .ids;
    }

    // Makes a prompt of as many of the shots as leave room for an answer; a question without room is left out.
    template <typename Question, typename Encode>
    void add_prompt(const Test<Question>& test, size_t file, const Question& q, int64_t answer, const Encode& encode) {
        std::span<const Question> shots = test.shots;
        Ids ids = encode(shots);
        while (std::ssize(ids) + answer > positions() && !shots.empty()) {
            shots = shots.first(shots.size() - 1);
            ids = encode(shots);
        }
        if (std::ssize(ids) + answer > positions()) {
            ++result_.n_too_long;
            return;
        }
        result_.n_fewer_shots += shots.size() < test.shots.size() ? 1 : 0;
        longest_ = std::max(longest_, std::ssize(ids));
        prompts_.push_back(std::move(ids));
        asked_.push_back({file, key_of(q)});
    }

    static std::string key_of(const ChoiceQuestion& q) { return letter(q.answer); }
    static std::string key_of(const SumQuestion& q) { return q.number; }

    void build(int64_t context, int64_t n_slots) {
        set_.emplace(*backend_);
        llama_ = opened_->declare(set_->store(), options_.base);
        generator_.emplace(*set_, *llama_, GeneratorOptions{context, llama_->compute, n_slots});
        generator_->set_profile(profile_);
        set_->fit();
        set_->require_fits("lower `batch_size`, `shots` or `max_new_tokens`", memory_cap(options_.base));
        events_.tell(fmt::format("base in {}; context {}; {:.1f} MiB", describe(options_.base), context,
                                 mebibytes(set_->memory().total())));
        set_->allocate([&] { opened_->load(set_->store(), *llama_, events_.stop); });
    }

    void count(const Asked& asked, const std::optional<std::string>& answer) {
        for (TaskScore* score : {&result_.all, &result_.files[asked.file].score}) {
            ++score->n;
            score->n_right += answer == asked.answer ? 1 : 0;
        }
        result_.n_without_number += answer ? 0 : 1;
    }

    void require_questions() const {
        require(!prompts_.empty(), "{}: none of {} questions has room in the {} tokens that the model takes",
                options_.data, result_.n_too_long, positions());
    }

    void ask_choices(const std::vector<fs::path>& files) {
        require(form_.name.empty(), "`template` {}: questions with choices are put plainly or into a chat template",
                form_.name);
        for (size_t file = 0; file < files.size(); ++file) {
            const auto test = read_test<ChoiceQuestion>(files[file], options_, read_choice_questions);
            const std::string subject = subject_of(files[file]);
            for (const ChoiceQuestion& q : test.questions) {
                add_prompt(test, file, q, 1, [&](std::span<const ChoiceQuestion> shots) {
                    return encoded(choice_text(subject, shots, q),
                                   choice_conversation(options_.system, subject, shots, q), files[file].string());
                });
                if (prompts_.size() > n_choices_.size()) n_choices_.push_back(q.choices.size());
            }
        }
        require_questions();
        build(longest_ + 1, 1);
        const Clock::time_point start = Clock::now();
        for (size_t i = 0; i < prompts_.size(); ++i) count(asked_[i], letter(chosen(prompts_[i], n_choices_[i])));
        result_.seconds = seconds_since(start);
    }

    // What two prompts begin with alike is in the cache already.
    size_t chosen(const Ids& prompt, size_t n) {
        end_if_asked(events_.stop);
        const auto most = static_cast<std::ptrdiff_t>(prompt.size()) - 1;
        const auto same = std::ranges::mismatch(prompt, cached_).in1 - prompt.begin();
        const auto kept = std::min(same, most);
        generator_->reset(kept);
        const std::vector<float>& logits = generator_->feed(std::span(prompt).subspan(static_cast<size_t>(kept)));
        cached_ = prompt;
        result_.prompt_tokens += std::ssize(prompt) - kept;
        const Ids letters = letter_tokens(n);
        size_t best = 0;
        for (size_t i = 0; i < letters.size(); ++i) {
            const float logit = logits[static_cast<size_t>(letters[i])];
            require(std::isfinite(logit), "logits: expected finite numbers, got {}; the weights are damaged", logit);
            if (logit > logits[static_cast<size_t>(letters[best])]) best = i;
        }
        return best;
    }

    // The token of each letter where it stands: behind "Answer:" and a space, in a conversation at an answer's start.
    const Ids& letter_tokens(size_t n) {
        if (letters_.size() == n) return letters_;
        letters_.clear();
        const std::string before = form_.chat ? form_.chat->render(single_turn("", "x"), true).text : "Answer: ";
        for (size_t i = 0; i < n; ++i)
            letters_.push_back(tokenizer().encode(before + letter(i), {.add_special = false}).back());
        require(std::set(letters_.begin(), letters_.end()).size() == n && letters_are_known(),
                "the tokenizer has no token of its own for each of the letters A to {}", letter(n - 1));
        return letters_;
    }

    bool letters_are_known() const {
        return std::ranges::all_of(letters_, [&](int32_t id) { return id < opened_->model.config.vocab_size; });
    }

    void ask_sums(const std::vector<fs::path>& files) {
        require(form_.name.empty() || options_.shots == 0,
                "`shots` stand before a plain question or in a chat template, not in `template` {}", form_.name);
        for (size_t file = 0; file < files.size(); ++file) {
            const auto test = read_test<SumQuestion>(files[file], options_, read_sum_questions);
            for (const SumQuestion& q : test.questions)
                add_prompt(test, file, q, options_.max_new_tokens, [&](std::span<const SumQuestion> shots) {
                    return encoded(form_.name.empty() ? sum_text(shots, q) : q.question,
                                   sum_conversation(options_.system, shots, q), files[file].string());
                });
        }
        require_questions();
        build(longest_ + options_.max_new_tokens, std::min(options_.batch_size, std::ssize(prompts_)));
        const Clock::time_point start = Clock::now();
        answer_sums();
        result_.seconds = seconds_since(start);
    }

    void answer_sums() {
        std::vector<int32_t> stops = opened_->model.stop_tokens();
        if (const auto end = form_.end_of_answer(tokenizer())) stops.push_back(*end);
        GenerationOptions options{{}, options_.max_new_tokens, std::move(stops), opened_->model.n_tokens()};
        options.sampler.temperature = 0;
        const std::vector<std::string> stop_texts =
            form_.chat || !form_.name.empty() ? std::vector<std::string>{} : std::vector<std::string>{"Question:"};
        size_t at = 0;  // they come in their order
        const BatchCounts counts = answer_batch(
            *generator_, {tokenizer(), prompts_, options, stop_texts, [&] { return events_.asked_to_stop(); },
                          [&](const AnswerLine& line) { count(asked_[at++], final_number(line.text)); }});
        if (events_.asked_to_stop()) throw Interrupted();
        result_.prompt_tokens = counts.prompt_tokens;
        result_.new_tokens = counts.new_tokens;
    }

    EvaluateOptions options_;
    const Events& events_;
    Profile* profile_;
    std::unique_ptr<Backend> backend_;
    std::optional<AdaptedModel> opened_;
    PromptForm form_;
    std::optional<ProgramSet> set_;
    std::unique_ptr<Llama> llama_;
    std::optional<Generator> generator_;
    std::vector<Ids> prompts_;
    std::vector<Asked> asked_;       // what each prompt asks
    std::vector<size_t> n_choices_;  // of each, where there are some
    int64_t longest_ = 0;            // tokens of a prompt
    Ids cached_, letters_;
    TaskResult result_;
};

}  // namespace

double TaskScore::standard_error() const {
    const double p = accuracy();
    return n > 1 ? std::sqrt(p * (1 - p) / static_cast<double>(n - 1)) : 0;
}

TaskResult run_task(EvaluateOptions options, const Events& events, Profile* profile) {
    return Task(std::move(options), events, profile).run();
}

}  // namespace ggq
