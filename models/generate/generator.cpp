#include "models/generate/generator.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "ggq/error.h"
#include "ggq/ops.h"

namespace ggq {

namespace {

// On a card a long prompt is arithmetic once weights are dequantized for many tokens; its pass takes as long as some of
// the short ones.
constexpr int64_t kPrefill = 64, kLongPrefill = 1024, kShortsALong = 4;
constexpr int64_t kRoomForLong = int64_t{1} << 30;

// Only where it surely has room beside what is declared.
bool wants_long_prefill(const Store& store, int64_t context) {
    const Backend& backend = store.backend();
    return backend.has_own_memory() && context >= kLongPrefill && backend.free_bytes() - store.bytes() > kRoomForLong;
}

bool all_finite(std::span<const float> logits) {
    return std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); });
}

void require_finite(bool finite, size_t n_tokens) {
    require(finite,
            "logits: expected finite numbers, got NaN or infinity after {} tokens; the weights are damaged or too "
            "large for the computing type",
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
    cache_.at = &store_.declare("cache_at", Kind::state, {DType::i32, {1}, {}});
    rng_ = &store_.declare("generator_rng", Kind::input, {DType::i64, {2}, {}});
    // Where the host looks at it while the device goes on.
    chosen_ = &store_.declare("generator_chosen", Kind::state, {DType::i32, {options.context}, {}});
    if (!store_.backend().reads_host_memory()) store_.set_residence(*chosen_, Residence::mapped);
    add_pass(set, prefill_, kPrefill);
    if (wants_long_prefill(store_, options.context)) add_pass(set, long_prefill_, kLongPrefill);
    add_pass(set, decode_, 1);
    logits_.resize(static_cast<size_t>(c.vocab_size));
}

int64_t Generator::n_choosable(int64_t vocabulary) const {
    const int64_t n = llama_.config.vocab_size;
    return vocabulary > 0 ? std::min(vocabulary, n) : n;
}

void Generator::add_pass(ProgramSet& set, Pass& pass, int64_t length) {
    const bool one = length == 1;
    const auto input = [&](const char* name, const Shape& shape, Kind kind) {
        return &store_.declare(name, kind, {DType::i32, shape, {}});
    };
    const Kind kind = one ? Kind::state : Kind::input;
    pass.length = length;
    pass.ids = input("generator_ids", {length}, kind);
    pass.positions = input("generator_positions", {length}, kind);
    pass.spans = input("generator_spans", {length, 2}, kind);
    auto graph = std::make_shared<Graph>();
    const LlamaInputs in{graph->bind(*pass.ids), graph->bind(*pass.positions), graph->bind(*pass.spans),
                         graph->bind(*rng_)};
    Tensor last = llama_hidden(*graph, llama_, in, {.cache = &cache_});
    if (!one) {
        pass.last = input("generator_last", {1}, Kind::input);
        last = embedding(last, graph->bind(*pass.last), last.dtype());
    }
    pass.logits = llama_logits(*graph, llama_, last);
    graph->mark_output(pass.logits);
    if (one)
        next_token({in.ids, in.positions, in.spans, graph->bind(*cache_.at), graph->bind(*chosen_)},
                   argmax(pass.logits, n_choosable(options_.vocabulary)));
    const std::string name = one ? "decode" : fmt::format("prefill of {} tokens", length);
    pass.program = &set.add(name, graph, {}, [this, &pass] {
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
    if (pass.last) write_scalar(store_, *pass.last, static_cast<int32_t>(n - 1));
    write_scalar(store_, *cache_.at, static_cast<int32_t>(n_fed_));
}

Generator::Pass& Generator::pass_for(int64_t n_tokens) {
    if (n_tokens == 1) return decode_;
    return long_prefill_.program && n_tokens > kShortsALong * kPrefill ? long_prefill_ : prefill_;
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
        last = &pass_for(std::ssize(tokens));
        const size_t n = std::min(tokens.size(), static_cast<size_t>(last->length));
        run(*last, tokens.first(n));
        tokens = tokens.subspan(n);
    }
    if (last) last->program->read(last->logits, logits_.data());
    return logits_;
}

// Greedy generation on the device, at most `n_most` tokens after `first`. Where runs are started and not waited for,
// one is under way while the token of the one before it is looked at.
class Generator::Ahead {
public:
    Ahead(Generator& generator, int32_t first, int64_t n_most)
        : g_(generator), backend_(generator.store_.backend()), n_most_(n_most) {
        g_.write_inputs(g_.decode_, {&first, 1});
    }
    ~Ahead() { end(); }
    Ahead(const Ahead&) = delete;
    Ahead& operator=(const Ahead&) = delete;

    int32_t next() {
        GGQ_ASSERT(n_read_ < n_most_, "no more tokens");
        const int64_t n_ahead = backend_.records() && !g_.profile_ ? 1 : 0;
        while (n_started_ < std::min(n_most_, n_read_ + 1 + n_ahead)) start();
        backend_.await(static_cast<int32_t>(n_read_ % 2));
        ++n_read_;
        int32_t token = 0;
        g_.store_.read_part(*g_.chosen_, 4 * g_.n_fed_++, &token, 4);
        return token;
    }

private:
    void start() {
        if (g_.profile_) g_.decode_.program->run(g_.profile_);
        else g_.decode_.program->start();
        backend_.milestone(static_cast<int32_t>(n_started_++ % 2));
    }
    void end() noexcept {
        try {
            backend_.synchronize();
        } catch (const Error&) {  // who waits next is told again
        }
    }

    Generator& g_;
    Backend& backend_;
    int64_t n_most_, n_started_ = 0, n_read_ = 0;
};

Generation Generator::generate(std::span<const int32_t> prompt, const GenerationOptions& options,
                               const std::function<bool(int32_t)>& on_token) {
    require(!prompt.empty(), "prompt: expected at least one token, got none");
    require(static_cast<int64_t>(prompt.size()) < context(),
            "prompt: it has {} tokens and the context holds {}; shorten the prompt or use a longer context",
            prompt.size(), context());
    reset();
    feed(prompt);
    std::vector<int32_t> all(prompt.begin(), prompt.end());
    const int64_t n = n_choosable(options.vocabulary);
    const std::span<const float> choosable = std::span<const float>(logits_).first(static_cast<size_t>(n));
    const bool on_device = options.sampler.temperature == 0 && options.sampler.repeat_penalty == 1 &&
                           n == n_choosable(options_.vocabulary);
    std::optional<Ahead> ahead;
    Generation result;
    while (true) {
        int32_t token = 0;
        if (ahead) {
            token = ahead->next();
            require_finite(token >= 0, all.size());
        } else {
            require_finite(all_finite(choosable), all.size());
            token = sample(choosable, all, options.sampler);
        }
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
        if (!on_device) feed({&token, 1});
        else if (!ahead)
            ahead.emplace(*this, token,
                          std::min(options.max_new_tokens - 1, context() - static_cast<int64_t>(prompt.size())));
    }
    return result;
}

}  // namespace ggq
