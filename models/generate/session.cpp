#include "models/generate/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "models/clock.h"
#include "models/figures.h"
#include "models/generate/batch_answers.h"
#include "models/generate/chat.h"
#include "models/generate/prompt.h"
#include "models/generate/prompt_lines.h"
#include "models/memory_lines.h"
#include "models/model_figures.h"

namespace ggq {

namespace {

constexpr int64_t kChatContext = 4096;  // tokens, where nothing else is said

class Session {
public:
    Session(GenerateOptions options, const GenerateEvents& events, Profile* profile)
        : options_(std::move(options)), events_(events), profile_(profile) {}

    GenerateResult run() {
        validate(options_);
        backend_ = make_backend(options_.base);
        const std::vector<std::string> of_device = settle_device(options_.base, *backend_);
        opened_.emplace(open_adapted(options_.base, options_.adapters, events_));
        form_ = prompt_form(options_, model().folder);
        if (!options_.plan) opened_->check_base(events_);
        encode_prompts();
        choose_context();
        events_.warn(model().warnings);
        events_.tell(of_device);
        events_.tell("device: " + backend_->description());
        build();
        if (options_.plan) return {};
        set_->allocate([&] { opened_->load(set_->store(), *llama_, events_.stop); });
        if (options_.chat) return converse();
        return options_.batch.empty() ? generate() : generate_batch();
    }

private:
    const Model& model() const { return opened_->model; }

    void encode_prompts() {
        if (!options_.batch.empty()) {
            for (const PromptLine& line : read_prompt_lines(options_.batch)) add_line(line);
        } else if (!options_.chat && (!options_.plan || !options_.prompt.empty())) {
            add_prompt(options_.prompt, "`prompt`");
        }
        n_slots_ = std::max<int64_t>(1, std::min(options_.batch_size, std::ssize(prompts_)));
    }

    void add_prompt(const std::string& text, const std::string& name) {
        add(encode_prompt(text, form_, model().tokenizer, model().config.vocab_size, name), name);
    }

    // Of conversations the model's own template makes prompts, unless another one was named.
    void add_line(const PromptLine& line) {
        scales_.push_back(scales_of(line));
        if (line.chat.empty()) return add_prompt(line.text, line.place);
        if (!messages_form_)
            messages_form_ = form_.chat ? form_ : PromptForm{"", ChatTemplate::chosen("", "", model().folder), ""};
        add(encode_prompt(line.chat, *messages_form_, model().tokenizer, model().config.vocab_size, line.place),
            line.place);
    }

    // Of the adapters, as the line or the options have them.
    std::vector<double> scales_of(const PromptLine& line) const {
        std::vector<double> scales;
        for (const AdapterChoice& choice : options_.adapters) scales.push_back(line.lora ? 0 : choice.scale);
        for (const auto& [id, scale] : line.lora.value_or(std::map<int64_t, double>())) {
            require(id < std::ssize(scales), "{}: lora: there is no adapter {}, there are {}", line.place, id,
                    scales.size());
            scales[static_cast<size_t>(id)] = scale;
        }
        return scales;
    }

    void add(Prompt prompt, const std::string& name) {
        if (!options_.batch.empty())
            for (std::string& note : prompt.notes) note = name + ": " + note;
        events_.tell(prompt.notes);
        prompts_.push_back(std::move(prompt.ids));
        names_.push_back(name);
    }

    int64_t longest_prompt() const {
        int64_t longest = 0;
        for (const auto& prompt : prompts_) longest = std::max(longest, std::ssize(prompt));
        return longest;
    }

    void choose_context() {
        const int64_t positions = model().config.max_position_embeddings;
        require(!options_.max_length || *options_.max_length <= positions,
                "`max_length` {}: the model has {} positions; use at most that many", options_.max_length.value_or(0),
                positions);
        const int64_t needed = options_.chat ? kChatContext : longest_prompt() + options_.max_new_tokens;
        context_ = options_.max_length.value_or(std::min(needed, positions));
        for (size_t i = 0; i < prompts_.size(); ++i)
            require(std::ssize(prompts_[i]) < context_, "{}: it has {} tokens and the context holds {}; {}", names_[i],
                    prompts_[i].size(), context_,
                    context_ < positions ? "shorten it or raise `max_length`" : "shorten it, the model takes no more");
    }

    void build() {
        set_.emplace(*backend_);
        llama_ = opened_->declare(set_->store(), options_.base);
        const DType kv_dtype = options_.kv_dtype.value_or(llama_->compute);
        for (const LogitBias& b : options_.logit_bias)
            require(b.token < llama_->config.vocab_size,
                    "`logit_bias`: token {} is beyond the model's vocabulary of {}", b.token,
                    llama_->config.vocab_size);
        generator_.emplace(*set_, *llama_, GeneratorOptions{context_, kv_dtype, n_slots_, options_.logit_bias});
        generator_->set_profile(profile_);
        set_->fit();
        if (options_.plan) print_plan();
        set_->require_fits(n_slots_ == 1 ? "use a shorter context" : "use a shorter context or a smaller `batch_size`",
                           memory_cap(options_.base));
        const std::string of_batch = options_.batch.empty() ? ""
                                                            : fmt::format("{} prompts, {} at a time; the longest has ",
                                                                          prompts_.size(), n_slots_);
        events_.tell(fmt::format("base in {}; {}{} prompt tokens, context {}; {:.1f} MiB", describe(options_.base),
                                 of_batch, longest_prompt(), context_, mebibytes(set_->memory().total())));
    }

    void print_plan() const {
        MemoryClass weights{"weights, frozen"}, adapter{"adapter"};
        for (const auto& [name, b] : llama_->weights) weights.add(*b);
        weights.add(*llama_->frequencies);
        for (const Linear* l : llama_->adapted) adapter.add(*l->a), adapter.add(*l->b);
        const std::string what = n_slots_ == 1 ? fmt::format("KV cache of {} tokens", context_)
                                               : fmt::format("{} KV caches of {} tokens", n_slots_, context_);
        const MemoryClass cache{what, generator_->cache_bytes()};
        print(memory_lines(*set_, {weights, adapter, cache}));
        print(arena_lines(*set_));
        print(figure_lines(figures_of(*llama_)));
    }

    void print(const std::vector<std::string>& lines) const {
        for (const std::string& line : lines)
            if (events_.print) events_.print(line);
    }

    void emit(const std::string& text) const {
        if (!text.empty() && events_.text) events_.text(text);
    }

    GenerationOptions generation_options() const {
        std::vector<int32_t> stops = model().stop_tokens();
        for (const PromptForm* form : {&form_, messages_form_ ? &*messages_form_ : &form_})
            if (const auto end = form->end_of_answer(model().tokenizer)) stops.push_back(*end);
        return {options_.sampler, options_.max_new_tokens, std::move(stops), model().n_tokens()};
    }

    void explain_no_answer() const {
        if (const auto line = ggq::explain_no_answer(model().tokenizer, form_)) events_.warn(*line);
    }

    GenerateResult generate() {
        const std::vector<int32_t>& prompt = prompts_[0];
        AnswerText text(model().tokenizer, options_.stop);
        Clock::time_point first{};
        const Clock::time_point start = Clock::now();
        const Generation answer = generator_->generate(prompt, generation_options(), [&](int32_t token) {
            if (first == Clock::time_point{}) first = Clock::now();
            emit(text.push(token));
            return !text.stopped() && !events_.asked_to_stop();
        });
        emit(text.finish());
        if (answer.tokens.empty()) explain_no_answer();
        const Clock::time_point end = Clock::now();
        if (first == Clock::time_point{}) first = end;
        return {1,
                std::ssize(prompt),
                std::ssize(answer.tokens),
                context_,
                model().config.max_position_embeddings,
                seconds_between(start, first),
                seconds_between(first, end),
                answer.reason};
    }

    GenerateResult converse() {
        Chat chat(*generator_, model().tokenizer, form_, generation_options(), options_.stop, events_,
                  {options_.adapters, [this](const std::vector<double>& scales) { set_scales(scales); }});
        const Clock::time_point start = Clock::now();
        chat.run(options_.prompt);
        return {chat.n_answers(),
                chat.prompt_tokens(),
                chat.new_tokens(),
                context_,
                model().config.max_position_embeddings,
                0,
                seconds_between(start, Clock::now()),
                StopReason::length};
    }

    // Lines that the same adapters answer are answered together.
    size_t end_of_run(size_t begin) const {
        size_t end = begin + 1;
        while (end < scales_.size() && scales_[end] == scales_[begin]) ++end;
        return end;
    }

    GenerateResult generate_batch() {
        const GenerationOptions options = generation_options();
        std::vector<double> current;
        for (const AdapterChoice& choice : options_.adapters) current.push_back(choice.scale);
        const Clock::time_point start = Clock::now();
        BatchCounts counts;
        for (size_t begin = 0; begin < prompts_.size();) {
            const size_t end = end_of_run(begin);
            if (scales_[begin] != current) set_scales(current = scales_[begin]);
            const std::vector<std::vector<int32_t>> prompts(prompts_.begin() + static_cast<std::ptrdiff_t>(begin),
                                                            prompts_.begin() + static_cast<std::ptrdiff_t>(end));
            counts += answer_batch(*generator_, {model().tokenizer, prompts, options, options_.stop,
                                                 [&] { return events_.asked_to_stop(); },
                                                 [&](const AnswerLine& line) {
                                                     if (events_.line) events_.line(to_json_line(line));
                                                 }});
            begin = end;
        }
        if (counts.n_empty > 0) explain_no_answer();
        return {std::ssize(prompts_),
                counts.prompt_tokens,
                counts.new_tokens,
                context_,
                model().config.max_position_embeddings,
                0,
                seconds_between(start, Clock::now()),
                StopReason::length};
    }

    void set_scales(const std::vector<double>& scales) { opened_->set_scales(set_->store(), *llama_, scales); }

    GenerateOptions options_;
    const GenerateEvents& events_;
    Profile* profile_;
    std::unique_ptr<Backend> backend_;
    std::optional<AdaptedModel> opened_;
    PromptForm form_;
    std::optional<PromptForm> messages_form_;  // of lines that are conversations
    std::vector<std::vector<int32_t>> prompts_;
    std::vector<std::string> names_;           // of the prompts, for messages
    std::vector<std::vector<double>> scales_;  // of the adapters, for each line of a batch
    int64_t context_ = 0, n_slots_ = 1;
    std::optional<ProgramSet> set_;
    std::unique_ptr<Llama> llama_;
    std::optional<Generator> generator_;
};

}  // namespace

GenerateResult run_generation(GenerateOptions options, const GenerateEvents& events, Profile* profile) {
    return Session(std::move(options), events, profile).run();
}

}  // namespace ggq
