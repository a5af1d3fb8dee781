#include "models/generate/generator.h"

#include <algorithm>
#include <cmath>

#include "ggq/error.h"
#include "ggq/ops.h"

namespace ggq {

namespace {

constexpr int64_t kPrefill = 64;

void require_finite(std::span<const float> logits, size_t n_tokens) {
    require(
        std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); }),
        "logits: expected finite numbers, got NaN or infinity after {} tokens; the weights are damaged or too large "
        "for the computing type",
        n_tokens);
}

}  // namespace

Generator::Generator(ProgramSet& set, const Llama& llama, const GeneratorOptions& options)
    : store_(set.store()), llama_(llama), options_(options) {
    const LlamaConfig& c = llama.config;
    const TensorType type{options.kv_dtype, {options.context, c.num_key_value_heads, c.head_dim}, {}};
    for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
        cache_.k.push_back(&store_.declare("k_cache." + std::to_string(i), Kind::state, type));
        cache_.v.push_back(&store_.declare("v_cache." + std::to_string(i), Kind::state, type));
    }
    cache_.at = &store_.declare("cache_at", Kind::input, {DType::i32, {1}, {}});
    rng_ = &store_.declare("generator_rng", Kind::input, {DType::i64, {2}, {}});
    add_pass(set, prefill_, kPrefill);
    add_pass(set, decode_, 1);
    logits_.resize(static_cast<size_t>(c.vocab_size));
}

void Generator::add_pass(ProgramSet& set, Pass& pass, int64_t length) {
    const auto input = [&](const char* name, const Shape& shape) {
        return &store_.declare(name, Kind::input, {DType::i32, shape, {}});
    };
    pass.length = length;
    pass.ids = input("generator_ids", {length});
    pass.positions = input("generator_positions", {length});
    pass.spans = input("generator_spans", {length, 2});
    pass.last = input("generator_last", {1});
    auto graph = std::make_shared<Graph>();
    const LlamaInputs in{graph->bind(*pass.ids), graph->bind(*pass.positions), graph->bind(*pass.spans),
                         graph->bind(*rng_)};
    const Tensor hidden = llama_hidden(*graph, llama_, in, {.cache = &cache_});
    const Tensor last = embedding(hidden, graph->bind(*pass.last), hidden.dtype());  // the row of the last real token
    pass.logits = llama_logits(*graph, llama_, last);
    graph->mark_output(pass.logits);
    pass.program = &set.add(length == 1 ? "decode" : "prefill", graph, {}, [this, &pass] {
        const int32_t any_token = 0;
        write_inputs(pass, {&any_token, 1});
    });
}

int64_t Generator::cache_bytes() const {
    int64_t n_bytes = 0;
    for (const auto* side : {&cache_.k, &cache_.v})
        for (const Buffer* b : *side) n_bytes += b->bytes();
    return n_bytes;
}

void Generator::write_inputs(const Pass& pass, std::span<const int32_t> tokens) {
    const auto n = static_cast<int64_t>(tokens.size());
    std::vector<int32_t> ids(static_cast<size_t>(pass.length), 0), positions(ids), spans(2 * ids.size());
    for (size_t t = 0; t < ids.size(); ++t) {
        const bool real = t < tokens.size();
        const auto at = static_cast<int32_t>(n_fed_ + static_cast<int64_t>(t));
        ids[t] = real ? tokens[t] : 0;
        positions[t] = real ? at : 0;
        spans[2 * t + 1] = real ? at + 1 : 1;
    }
    store_.write(*pass.ids, ids.data());
    store_.write(*pass.positions, positions.data());
    store_.write(*pass.spans, spans.data());
    write_scalar(store_, *pass.last, static_cast<int32_t>(n - 1));
    write_scalar(store_, *cache_.at, static_cast<int32_t>(n_fed_));
}

void Generator::run(Pass& pass, std::span<const int32_t> tokens) {
    write_inputs(pass, tokens);
    pass.program->run(profile_);
    n_fed_ += static_cast<int64_t>(tokens.size());
}

const std::vector<float>& Generator::feed(std::span<const int32_t> tokens) {
    require(n_fed_ + static_cast<int64_t>(tokens.size()) <= context(),
            "context: expected at most {} tokens, got {}; use a longer context or a shorter prompt", context(),
            n_fed_ + static_cast<int64_t>(tokens.size()));
    Pass* last = nullptr;
    while (!tokens.empty()) {
        last = tokens.size() == 1 ? &decode_ : &prefill_;
        const size_t n = std::min(tokens.size(), static_cast<size_t>(last->length));
        run(*last, tokens.first(n));
        tokens = tokens.subspan(n);
    }
    if (last) last->program->read(last->logits, logits_.data());
    return logits_;
}

Generation Generator::generate(std::span<const int32_t> prompt, const GenerationOptions& options,
                               const std::function<bool(int32_t)>& on_token) {
    require(!prompt.empty(), "prompt: expected at least one token, got none");
    require(static_cast<int64_t>(prompt.size()) < context(),
            "prompt: it has {} tokens and the context holds {}; shorten the prompt or use a longer context",
            prompt.size(), context());
    reset();
    feed(prompt);
    std::vector<int32_t> all(prompt.begin(), prompt.end());
    const size_t n_choosable = options.vocabulary > 0 ? static_cast<size_t>(options.vocabulary) : logits_.size();
    const std::span<const float> choosable =
        std::span<const float>(logits_).first(std::min(n_choosable, logits_.size()));
    Generation result;
    while (true) {
        require_finite(choosable, all.size());
        const int32_t token = sample(choosable, all, options.sampler);
        result.reason = StopReason::stop_token;
        if (std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end()) return result;
        all.push_back(token);
        result.tokens.push_back(token);
        result.reason = StopReason::stopped;
        if (on_token && !on_token(token)) return result;
        result.reason = StopReason::length;
        if (static_cast<int64_t>(result.tokens.size()) == options.max_new_tokens) break;
        result.reason = StopReason::context;
        if (static_cast<int64_t>(all.size()) >= context()) break;
        feed({&token, 1});
    }
    return result;
}

}  // namespace ggq
