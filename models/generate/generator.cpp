#include "models/generate/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "ggq/error.h"
#include "ggq/ops.h"
#include "kernels/rounding.h"
#include "models/generate/batch.h"

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

}  // namespace

Generator::Generator(ProgramSet& set, const Llama& llama, const GeneratorOptions& options)
    : store_(set.store()), llama_(llama), options_(options) {
    GGQ_ASSERT(options.n_slots > 0);
    const bool long_chunks = wants_long_prefill(store_, options.context);
    // What fills up the last chunk of a prompt must not reach the next slot.
    const int64_t chunk = options.n_slots == 1 ? 1 : long_chunks ? kLongPrefill : kPrefill;
    slot_rows_ = round_up(options.context, chunk);
    declare_state();
    add_chunk(set, chunk_, kPrefill);
    if (long_chunks) add_chunk(set, long_chunk_, kLongPrefill);
    add_step(set);
    logits_.resize(static_cast<size_t>(llama.config.vocab_size));
}

void Generator::declare_state() {
    const LlamaConfig& c = llama_.config;
    const int64_t n = options_.n_slots;
    const TensorType type{options_.kv_dtype, {n * slot_rows_, c.num_key_value_heads, c.head_dim}, {}};
    for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
        cache_.k.push_back(&store_.declare("k_cache." + std::to_string(i), Kind::state, type));
        cache_.v.push_back(&store_.declare("v_cache." + std::to_string(i), Kind::state, type));
    }
    rng_ = &store_.declare("generator_rng", Kind::input, {DType::i64, {2}, {}});
    settings_ = &store_.declare("generator_settings", Kind::input, {DType::f32, {n, 8}, {}});
    seeds_ = &store_.declare("generator_seeds", Kind::input, {DType::i64, {n}, {}});
    // Where the host looks at it while the device goes on.
    log_ = &store_.declare("generator_log", Kind::state, {DType::i32, {n, options_.context}, {}});
    if (!store_.backend().reads_host_memory()) store_.set_residence(*log_, Residence::mapped);
    step_.length = n;
    const auto state = [&](const char* name, const Shape& shape) {
        return &store_.declare(name, Kind::state, {DType::i32, shape, {}});
    };
    step_.ids = state("generator_ids", {n});
    step_.positions = state("generator_positions", {n});
    step_.spans = state("generator_spans", {n, 2});
    step_.at = state("cache_at", {n});
    step_.rows = state("generator_rows", {n});
}

Tensor Generator::hidden(Graph& graph, const Pass& pass) const {
    const LlamaInputs in{graph.bind(*pass.ids), graph.bind(*pass.positions), graph.bind(*pass.spans),
                         graph.bind(*rng_)};
    KvCache cache = cache_;
    cache.at = pass.at;
    return llama_hidden(graph, llama_, in, {.cache = &cache});
}

// The next tokens of the slots that `rows` names become those to be read.
void Generator::choose(Graph& graph, const Pass& pass) {
    graph.mark_output(pass.logits);
    const Tensor rows = graph.bind(*pass.rows), positions = graph.bind(*step_.positions), log = graph.bind(*log_);
    const Tensor token = sample(pass.logits, rows, {graph.bind(*settings_), graph.bind(*seeds_), positions, log});
    next_token({graph.bind(*step_.ids), positions, graph.bind(*step_.spans), graph.bind(*step_.at), log}, rows, token);
}

Tensor Generator::biased(Graph& graph, Tensor logits) {
    if (options_.logit_bias.empty()) return logits;
    const TensorType type{DType::f32, logits.shape(), {}};
    biases_.push_back(&store_.declare(fmt::format("logit_bias.{}", biases_.size()), Kind::state, type));
    return add(logits, graph.bind(*biases_.back()));
}

// A logit that is infinite would be taken for a fault.
void Generator::write_bias() {
    constexpr double kMost = 1e9;
    const auto n = static_cast<size_t>(llama_.config.vocab_size);
    for (Buffer* buffer : biases_) {
        std::vector<float> values(static_cast<size_t>(buffer->type.shape.n_elems()), 0.0f);
        for (const LogitBias& b : options_.logit_bias)
            for (size_t at = static_cast<size_t>(b.token); at < values.size(); at += n)
                values[at] = static_cast<float>(std::clamp(b.bias, -kMost, kMost));
        store_.write(*buffer, values.data());
    }
}

void Generator::add_chunk(ProgramSet& set, Pass& pass, int64_t length) {
    const auto input = [&](const char* name, const Shape& shape) {
        return &store_.declare(name, Kind::input, {DType::i32, shape, {}});
    };
    pass.length = length;
    pass.ids = input("chunk_ids", {length});
    pass.positions = input("chunk_positions", {length});
    pass.spans = input("chunk_spans", {length, 2});
    pass.at = input("chunk_at", {1});
    pass.rows = input("chunk_row", {1});
    pass.last = input("chunk_last", {1});
    auto graph = std::make_shared<Graph>();
    const Tensor all = hidden(*graph, pass);
    pass.logits = biased(*graph, llama_logits(*graph, llama_, embedding(all, graph->bind(*pass.last), all.dtype())));
    choose(*graph, pass);
    pass.program = &set.add(fmt::format("prefill of {} tokens", length), graph, {}, [this, &pass] {
        const int32_t any_token = 0;
        write_chunk(pass, 0, {&any_token, 1}, -1);
    });
}

void Generator::add_step(ProgramSet& set) {
    auto graph = std::make_shared<Graph>();
    step_.logits = biased(*graph, llama_logits(*graph, llama_, hidden(*graph, step_)));
    choose(*graph, step_);
    step_.program = &set.add("decode", graph, {}, [this] {
        for (int64_t slot = 0; slot < n_slots(); ++slot) end(slot);
    });
}

int64_t Generator::cache_bytes() const {
    int64_t n_bytes = 0;
    for (const auto* side : {&cache_.k, &cache_.v})
        for (const Buffer* b : *side) n_bytes += b->bytes();
    return n_bytes;
}

// State is zero at first, which is a token in every slot.
void Generator::settle() {
    if (!settled_) write_bias();
    for (int64_t slot = 0; !settled_ && slot < n_slots(); ++slot) end(slot);
    settled_ = true;
}

// What the next step reads in a slot; nothing becomes of it unless it goes on.
void Generator::put(int64_t slot, int32_t id, int64_t position, bool goes_on) {
    const auto first = static_cast<int32_t>(slot * slot_rows_), p = static_cast<int32_t>(position);
    const int32_t span[] = {first, first + p + 1}, at = goes_on ? first + p : -1;
    const int32_t row = goes_on ? static_cast<int32_t>(slot) : -1;
    store_.write_part(*step_.ids, 4 * slot, &id, 4);
    store_.write_part(*step_.positions, 4 * slot, &p, 4);
    store_.write_part(*step_.spans, 8 * slot, span, 8);
    store_.write_part(*step_.at, 4 * slot, &at, 4);
    store_.write_part(*step_.rows, 4 * slot, &row, 4);
}

void Generator::end(int64_t slot) { put(slot, 0, 0, false); }

void Generator::write_chunk(const Pass& pass, int64_t slot, std::span<const int32_t> tokens, int32_t row) {
    const auto n = static_cast<size_t>(pass.length);
    const auto first = static_cast<int32_t>(slot * slot_rows_), n_fed = static_cast<int32_t>(n_fed_);
    std::vector<int32_t> ids(n, 0), positions(n, 0), spans(2 * n, first);
    for (size_t t = 0; t < n; ++t) {
        const bool real = t < tokens.size();
        ids[t] = real ? tokens[t] : 0;
        positions[t] = real ? n_fed + static_cast<int32_t>(t) : 0;
        spans[2 * t + 1] = first + positions[t] + 1;
    }
    store_.write(*pass.ids, ids.data());
    store_.write(*pass.positions, positions.data());
    store_.write(*pass.spans, spans.data());
    write_scalar(store_, *pass.at, first + n_fed);
    write_scalar(store_, *pass.rows, row);
    write_scalar(store_, *pass.last, static_cast<int32_t>(tokens.size()) - 1);
}

// With `choosing` the last pass chooses the slot's next token, whose state says that the last token is read next. Where
// there is one slot, a single token is a step.
const Generator::Pass& Generator::feed(int64_t slot, std::span<const int32_t> tokens, bool choosing) {
    while (true) {
        const bool is_step = tokens.size() == 1 && n_slots() == 1;
        const bool is_long = long_chunk_.program && std::ssize(tokens) > kShortsALong * kPrefill;
        const Pass& pass = is_step ? step_ : is_long ? long_chunk_ : chunk_;
        const size_t n = std::min(tokens.size(), is_step ? 1 : static_cast<size_t>(pass.length));
        const bool is_last = n == tokens.size();
        if (is_step) put(slot, tokens[0], n_fed_, true);
        else write_chunk(pass, slot, tokens.first(n), choosing && is_last ? static_cast<int32_t>(slot) : -1);
        pass.program->run(profile_);
        n_fed_ += static_cast<int64_t>(n);
        if (is_last) return pass;
        tokens = tokens.subspan(n);
    }
}

const std::vector<float>& Generator::feed(std::span<const int32_t> tokens) {
    require(n_fed_ + static_cast<int64_t>(tokens.size()) <= context(),
            "context: expected at most {} tokens, got {}; use a longer context or a shorter prompt", context(),
            n_fed_ + static_cast<int64_t>(tokens.size()));
    settle();
    if (!tokens.empty()) {
        const Pass& last = feed(0, tokens, false);
        last.program->read(last.logits, logits_.data());
    }
    return logits_;
}

int32_t Generator::begin(int64_t slot, std::span<const int32_t> prompt, const SamplerOptions& options,
                         int64_t vocabulary, int64_t n_kept) {
    require(!prompt.empty(), "prompt: expected at least one token, got none");
    const auto n = static_cast<int64_t>(prompt.size());
    require(n < context(),
            "prompt: it has {} tokens and the context holds {}; shorten the prompt or use a longer context", n,
            context());
    GGQ_ASSERT(n_under_way() == 0 && slot < n_slots() && n_kept < n);
    settle();
    const sampling::Settings settings = settings_of(options, vocabulary);
    store_.write_part(*settings_, slot * static_cast<int64_t>(sizeof settings), &settings, sizeof settings);
    store_.write_part(*seeds_, 8 * slot, &options.seed, 8);
    store_.write_part(*log_, 4 * slot * context(), prompt.data(), 4 * n);
    put(slot, prompt.back(), n - 1, true);
    n_fed_ = n_kept;
    feed(slot, prompt.subspan(static_cast<size_t>(n_kept)), true);
    return token(slot, n);
}

int64_t Generator::most_under_way() const { return store_.backend().records() && !profile_ ? 2 : 1; }

void Generator::start_step() {
    if (profile_) step_.program->run(profile_);
    else step_.program->start();
    store_.backend().milestone(static_cast<int32_t>(n_started_++ % 2));
}

void Generator::await_step() {
    GGQ_ASSERT(n_under_way() > 0, "no step");
    store_.backend().await(static_cast<int32_t>(n_awaited_++ % 2));
}

int32_t Generator::token(int64_t slot, int64_t position) {
    int32_t token = 0;
    store_.read_part(*log_, 4 * (slot * context() + position), &token, 4);
    return token;
}

void Generator::drain() noexcept {
    n_awaited_ = n_started_;
    try {
        store_.backend().synchronize();
    } catch (const Error&) {  // who waits next is told again
    }
}

Generation Generator::generate(std::span<const int32_t> prompt, const GenerationOptions& options,
                               const std::function<bool(int32_t)>& on_token, int64_t n_kept) {
    Generation result;
    Request request{{prompt.begin(), prompt.end()}, options, on_token, n_kept};
    bool asked = false;
    generate_batch(
        *this, [&] { return std::exchange(asked, true) ? nullptr : &request; },
        [&](const Request&, Generation answer) { result = std::move(answer); });
    return result;
}

}  // namespace ggq
