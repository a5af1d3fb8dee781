#include "models/generate/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "models/base_model.h"
#include "models/clock.h"
#include "models/lora.h"
#include "models/text/template.h"

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

// All that changes the numbers of the base: equal texts mean equal bases.
std::string describe_base(const BaseOptions& base) {
    std::string text = option_text(kQuantNames, base.quant);
    if (base.quant && *base.quant != DType::int8)
        text += fmt::format(", blocks of {}, {} scales", base.quant_spec.block,
                            base.quant_spec.double_quant ? "double" : "single");
    if (base.quant && base.quant_only_adapted) text += ", only linears with an adapter";
    if (base.lift_f32) text += ", norms, embedding and head in f32";
    return text;
}

BaseOptions recorded_base(const BaseRecord& record, BaseOptions base) {
    const auto quant = find_option(kQuantNames, record.quant);
    require(quant.has_value(), "ggq_base.json: unknown quantization '{}'", record.quant);
    require(record.quant_block == 64 || record.quant_block == 128 || record.quant_block == 256,
            "ggq_base.json: quant_block: expected 64, 128 or 256, got {}", record.quant_block);
    base.quant = *quant;
    base.quant_spec = {static_cast<int>(record.quant_block), record.double_quant};
    base.quant_only_adapted = record.quant_only_adapted;
    base.lift_f32 = record.lift_f32;
    return base;
}

class Session {
public:
    Session(GenerateOptions options, const GenerateEvents& events, Profile* profile)
        : options_(std::move(options)), events_(events), profile_(profile) {}

    GenerateResult run() {
        validate(options_);
        backend_ = make_backend(options_.base);
        const std::vector<std::string> of_device = settle_device(options_.base, *backend_);
        base_.emplace(open_base(options_.base.model));
        if (!options_.adapters.empty()) open_adapter();
        encode_prompt();
        for (const std::string& line : base_->warnings) warn(line);
        for (const std::string& line : of_device) note(line);
        note("device: " + backend_->description());
        build();
        load();
        return generate();
    }

private:
    void note(const std::string& line) const {
        if (events_.note) events_.note(line);
    }
    void warn(const std::string& line) const {
        if (events_.warning) events_.warning(line);
    }

    void open_adapter() {
        adapter_.emplace(read_adapter(options_.adapters[0].path));
        if (!adapter_->base) {
            note(fmt::format("{} does not record how its base was quantized; the base is {}", options_.adapters[0].path,
                             describe_base(options_.base)));
            return;
        }
        const BaseOptions recorded = recorded_base(*adapter_->base, options_.base);
        const bool lift_f32 = options_.base.lift_f32 || recorded.lift_f32;
        if (!options_.base.quant_given) options_.base = recorded;
        options_.base.lift_f32 = lift_f32;
        if (describe_base(recorded) != describe_base(options_.base))
            warn(fmt::format("the adapter was trained on a base in {}, this one is in {}; answers will differ",
                             describe_base(recorded), describe_base(options_.base)));
        const std::string hash = base_->hash();  // reads every weight
        if (adapter_->base->hash != hash)
            warn(fmt::format("the adapter was trained on another base ({}, hash {}) than this one (hash {})",
                             adapter_->base->path, adapter_->base->hash, hash));
    }

    void encode_prompt() {
        require(options_.template_name.empty() || options_.template_name == "alpaca",
                "--template: expected alpaca or nothing, got '{}'", options_.template_name);
        const bool wrap = options_.template_name == "alpaca";
        prompt_ = base_->tokenizer.encode(wrap ? alpaca_prompt(options_.prompt) : options_.prompt);
        require(!prompt_.empty(), "--prompt: expected a text, got nothing and the tokenizer adds no BOS");
        const int64_t positions = base_->config.max_position_embeddings;
        require(!options_.max_length || *options_.max_length <= positions,
                "--max-length {}: the model has {} positions; use at most that many", options_.max_length.value_or(0),
                positions);
        const auto n = static_cast<int64_t>(prompt_.size());
        context_ = options_.max_length.value_or(std::min(n + options_.max_new_tokens, positions));
        require(n < context_, "--prompt: it has {} tokens and the context holds {}; {}", n, context_,
                context_ < positions ? "shorten it or raise --max-length" : "shorten it, the model takes no more");
        for (int32_t id : prompt_)
            require(id < base_->config.vocab_size, "--prompt: token {} is beyond the model's vocabulary of {}", id,
                    base_->config.vocab_size);
    }

    WeightChoice weight_choice() const {
        WeightChoice choice;
        choice.quant = options_.base.quant;
        choice.quant_spec = options_.base.quant_spec;
        choice.quant_only_adapted = options_.base.quant_only_adapted && adapter_;
        choice.lift_f32 = options_.base.lift_f32;
        choice.compute = options_.base.compute_dtype.value_or(DType::f32);
        choice.adapter_dtype = choice.compute;
        if (adapter_) choice.lora = adapter_->config;
        return choice;
    }

    void build() {
        store_.emplace(*backend_);
        llama_ = declare_llama(*store_, base_->config, weight_choice(), base_->dtypes(), {});
        if (adapter_) check_adapter(*llama_, *adapter_, options_.adapters[0].path);
        for (Linear* l : llama_->adapted) l->lora.scaling *= static_cast<float>(options_.adapters[0].scale);
        const DType kv_dtype = options_.kv_dtype.value_or(llama_->compute);
        generator_.emplace(*backend_, *store_, *llama_, GeneratorOptions{context_, kv_dtype});
        generator_->set_profile(profile_);
        const int64_t needed = store_->bytes() + generator_->arena_bytes(), available = backend_->free_bytes();
        require(needed <= available,
                "memory: the plan needs {:.1f} MiB and {:.1f} MiB are free{}; use a shorter context",
                static_cast<double>(needed) / (1 << 20), static_cast<double>(available) / (1 << 20),
                memory_cap(options_.base));
        note(fmt::format("base in {}; {} prompt tokens, context {}; {:.1f} MiB", describe_base(options_.base),
                         prompt_.size(), context_, static_cast<double>(needed) / (1 << 20)));
    }

    void load() {
        store_->allocate();
        write_frequencies(*store_, *llama_);
        fill_weights(*store_, *llama_, *base_, 0);
        if (adapter_) load_adapter(*store_, *llama_, *adapter_);
        arena_.emplace(*backend_, generator_->arena_bytes());  // after the weights, whose staging is gone by now
        generator_->bind(*arena_);
        generator_->prepare();
    }

    void emit(const std::string& text) const {
        if (!text.empty() && events_.text) events_.text(text);
    }

    GenerateResult generate() {
        GenerationOptions g;
        g.sampler = options_.sampler;
        g.max_new_tokens = options_.max_new_tokens;
        g.stop_tokens = base_->stop_tokens();
        g.vocabulary = base_->n_tokens();
        StreamDecoder decoder(base_->tokenizer, true, true);
        StopTexts stops(options_.stop);
        bool stopped = false;
        Clock::time_point first{};
        const Clock::time_point start = Clock::now();
        const Generation answer = generator_->generate(prompt_, g, [&](int32_t token) {
            if (first == Clock::time_point{}) first = Clock::now();
            emit(stops.push(decoder.push(token), stopped));
            return !stopped && !(events_.stop && events_.stop());
        });
        if (!stopped) {
            emit(stops.push(decoder.flush(), stopped));
            if (!stopped) emit(stops.flush());
        }
        const Clock::time_point end = Clock::now();
        if (first == Clock::time_point{}) first = end;
        return {static_cast<int64_t>(prompt_.size()),
                static_cast<int64_t>(answer.tokens.size()),
                context_,
                base_->config.max_position_embeddings,
                seconds_between(start, first),
                seconds_between(first, end),
                answer.reason};
    }

    GenerateOptions options_;
    const GenerateEvents& events_;
    Profile* profile_;
    std::unique_ptr<Backend> backend_;
    std::optional<BaseModel> base_;
    std::optional<Adapter> adapter_;
    std::vector<int32_t> prompt_;
    int64_t context_ = 0;
    std::optional<Store> store_;
    std::unique_ptr<Llama> llama_;
    std::optional<Generator> generator_;
    std::optional<Arena> arena_;
};

}  // namespace

GenerateResult run_generation(GenerateOptions options, const GenerateEvents& events, Profile* profile) {
    return Session(std::move(options), events, profile).run();
}

}  // namespace ggq
