#include "models/generate/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "models/clock.h"
#include "models/figures.h"
#include "models/generate/prompt.h"
#include "models/memory_lines.h"
#include "models/model_figures.h"

namespace ggq {

std::string StopTexts::push(const std::string& text, bool& stopped) {
    held_ += text;
    size_t cut = std::string::npos;
    for (const std::string& stop : texts_) cut = std::min(cut, held_.find(stop));
    stopped = cut != std::string::npos;
    size_t n_shown = stopped ? cut : held_.size();
    for (const std::string& stop : texts_)
        for (size_t n = std::min(stop.size() - 1, held_.size()); !stopped && n > 0; --n)
            if (held_.ends_with(std::string_view(stop).substr(0, n))) n_shown = std::min(n_shown, held_.size() - n);
    std::string shown = held_.substr(0, n_shown);
    held_.erase(0, stopped ? std::string::npos : n_shown);
    return shown;
}

std::string StopTexts::flush() { return std::exchange(held_, {}); }

namespace {

class Session {
public:
    Session(GenerateOptions options, const GenerateEvents& events, Profile* profile)
        : options_(std::move(options)), events_(events), profile_(profile) {}

    GenerateResult run() {
        validate(options_);
        backend_ = make_backend(options_.base);
        const std::vector<std::string> of_device = settle_device(options_.base, *backend_);
        opened_.emplace(open_adapted(options_.base, options_.adapters, events_));
        if (!options_.plan) opened_->check_base(events_);
        encode_prompt();
        choose_context();
        events_.warn(model().warnings);
        events_.tell(of_device);
        events_.tell("device: " + backend_->description());
        build();
        if (options_.plan) return {};
        set_->allocate([&] { opened_->load(set_->store(), *llama_, events_.stop); });
        return generate();
    }

private:
    const Model& model() const { return opened_->model; }

    void encode_prompt() {
        if (options_.plan && options_.prompt.empty()) return;
        const Prompt prompt = ggq::encode_prompt(options_, model().tokenizer, model().config.vocab_size);
        events_.tell(prompt.notes);
        prompt_ = prompt.ids;
    }

    void choose_context() {
        const int64_t positions = model().config.max_position_embeddings;
        require(!options_.max_length || *options_.max_length <= positions,
                "`max_length` {}: the model has {} positions; use at most that many", options_.max_length.value_or(0),
                positions);
        const auto n = static_cast<int64_t>(prompt_.size());
        context_ = options_.max_length.value_or(std::min(n + options_.max_new_tokens, positions));
        require(n < context_, "`prompt`: it has {} tokens and the context holds {}; {}", n, context_,
                context_ < positions ? "shorten it or raise `max_length`" : "shorten it, the model takes no more");
    }

    void build() {
        set_.emplace(*backend_);
        llama_ = opened_->declare(set_->store(), options_.base);
        const DType kv_dtype = options_.kv_dtype.value_or(llama_->compute);
        generator_.emplace(*set_, *llama_, GeneratorOptions{context_, kv_dtype, model().n_tokens()});
        generator_->set_profile(profile_);
        set_->fit();
        if (options_.plan) print_plan();
        set_->require_fits("use a shorter context", memory_cap(options_.base));
        events_.tell(fmt::format("base in {}; {} prompt tokens, context {}; {:.1f} MiB", describe(options_.base),
                                 prompt_.size(), context_, mebibytes(set_->memory().total())));
    }

    void print_plan() const {
        MemoryClass weights{"weights, frozen"}, adapter{"adapter"};
        for (const auto& [name, b] : llama_->weights) weights.add(*b);
        weights.add(*llama_->frequencies);
        for (const Linear* l : llama_->adapted) adapter.add(*l->a), adapter.add(*l->b);
        const MemoryClass cache{fmt::format("KV cache of {} tokens", context_), generator_->cache_bytes()};
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

    GenerateResult generate() {
        GenerationOptions g;
        g.sampler = options_.sampler;
        g.max_new_tokens = options_.max_new_tokens;
        g.stop_tokens = model().stop_tokens();
        g.vocabulary = model().n_tokens();
        StreamDecoder decoder(model().tokenizer, true, true);
        StopTexts stops(options_.stop);
        bool stopped = false;
        Clock::time_point first{};
        const Clock::time_point start = Clock::now();
        const Generation answer = generator_->generate(prompt_, g, [&](int32_t token) {
            if (first == Clock::time_point{}) first = Clock::now();
            emit(stops.push(decoder.push(token), stopped));
            return !stopped && !events_.asked_to_stop();
        });
        if (!stopped) {
            emit(stops.push(decoder.flush(), stopped));
            if (!stopped) emit(stops.flush());
        }
        if (answer.tokens.empty())
            if (const auto line = explain_no_answer(model().tokenizer)) events_.warn(*line);
        const Clock::time_point end = Clock::now();
        if (first == Clock::time_point{}) first = end;
        return {static_cast<int64_t>(prompt_.size()),
                static_cast<int64_t>(answer.tokens.size()),
                context_,
                model().config.max_position_embeddings,
                seconds_between(start, first),
                seconds_between(first, end),
                answer.reason};
    }

    GenerateOptions options_;
    const GenerateEvents& events_;
    Profile* profile_;
    std::unique_ptr<Backend> backend_;
    std::optional<AdaptedModel> opened_;
    std::vector<int32_t> prompt_;
    int64_t context_ = 0;
    std::optional<ProgramSet> set_;
    std::unique_ptr<Llama> llama_;
    std::optional<Generator> generator_;
};

}  // namespace

GenerateResult run_generation(GenerateOptions options, const GenerateEvents& events, Profile* profile) {
    return Session(std::move(options), events, profile).run();
}

}  // namespace ggq
