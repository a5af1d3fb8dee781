#include "models/generate/batch.h"

#include <algorithm>

#include "ggq/error.h"

namespace ggq {

namespace {

// An answer that is under way.
struct Answer {
    const Request* request = nullptr;  // null: the slot is free
    Generation result;
    int64_t position = 0;  // of the next token
    int64_t most = 0;      // tokens that it can have

    int64_t n_missing() const { return most - std::ssize(result.tokens); }
};

class Batch {
public:
    Batch(Generator& generator, const std::function<const Request*()>& next,
          const std::function<void(const Request&, Generation)>& done)
        : g_(generator), next_(next), done_(done), answers_(static_cast<size_t>(generator.n_slots())) {}
    ~Batch() { g_.drain(); }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void run() {
        while (true) {
            if (g_.n_under_way() == 0) fill_slots();
            while (g_.n_under_way() < g_.most_under_way() && wants_step()) g_.start_step();
            if (g_.n_under_way() == 0) return;
            g_.await_step();
            for (int64_t slot = 0; slot < g_.n_slots(); ++slot) {
                Answer& a = at(slot);
                if (a.request) take(slot, g_.token(slot, a.position++));
            }
        }
    }

private:
    Answer& at(int64_t slot) { return answers_[static_cast<size_t>(slot)]; }

    // Prompts are read while no step is under way; a step that would be is not started where one waits.
    bool wants_step() const {
        const bool has_free = std::ranges::any_of(answers_, [](const Answer& a) { return !a.request; });
        if (has_free && more_ && g_.n_under_way() > 0) return false;
        return std::ranges::any_of(answers_,
                                   [&](const Answer& a) { return a.request && a.n_missing() > g_.n_under_way(); });
    }

    void fill_slots() {
        for (int64_t slot = 0; more_ && slot < g_.n_slots(); ++slot)
            while (more_ && !at(slot).request) begin(slot);
    }

    void begin(int64_t slot) {
        const Request* request = next_();
        more_ = request != nullptr;
        if (!request) return;
        const auto n = std::ssize(request->prompt);
        const GenerationOptions& o = request->options;
        const int32_t first = g_.begin(slot, request->prompt, o.sampler, o.vocabulary, request->n_kept);
        at(slot) = {request, {}, n + 1, std::min(o.max_new_tokens, g_.context() - n)};
        take(slot, first);
    }

    // Frees the slot where the token was the last one.
    void take(int64_t slot, int32_t token) {
        Answer& a = at(slot);
        if (goes_on(a, token)) return;
        g_.end(slot);
        const Request& request = *a.request;
        Generation result = std::move(a.result);
        a = {};
        done_(request, std::move(result));
    }

    bool goes_on(Answer& a, int32_t token) const {
        const Request& r = *a.request;
        Generation& result = a.result;
        require(token >= 0,
                "logits: expected finite numbers, got NaN or infinity after {} tokens; the weights are damaged or too "
                "large for the computing type",
                r.prompt.size() + result.tokens.size());
        result.reason = StopReason::stop_token;
        if (std::ranges::find(r.options.stop_tokens, token) != r.options.stop_tokens.end()) return false;
        result.tokens.push_back(token);
        result.reason = StopReason::stopped;
        if (r.on_token && !r.on_token(token)) return false;
        const bool is_whole = std::ssize(result.tokens) == r.options.max_new_tokens;
        result.reason = is_whole ? StopReason::length : StopReason::context;
        return a.n_missing() > 0;
    }

    Generator& g_;
    const std::function<const Request*()>& next_;
    const std::function<void(const Request&, Generation)>& done_;
    std::vector<Answer> answers_;
    bool more_ = true;
};

}  // namespace

void generate_batch(Generator& generator, const std::function<const Request*()>& next,
                    const std::function<void(const Request&, Generation)>& done) {
    Batch(generator, next, done).run();
}

}  // namespace ggq
