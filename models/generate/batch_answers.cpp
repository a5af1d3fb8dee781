#include "models/generate/batch_answers.h"

#include <deque>
#include <optional>

#include "models/generate/answer_text.h"
#include "models/generate/batch.h"

namespace ggq {

namespace {

std::string reason_name(StopReason reason, bool by_text) {
    switch (reason) {
        case StopReason::stop_token: return "stop_token";
        case StopReason::length: return "length";
        case StopReason::context: return "context";
        case StopReason::stopped: break;
    }
    return by_text ? "stop_text" : "interrupted";
}

// A prompt that has begun.
struct Begun {
    Request request;
    AnswerText text;
    std::string shown = {};
    std::optional<AnswerLine> line = {};  // when it has ended
};

class Answers {
public:
    explicit Answers(const BatchJob& job) : job_(job) {}

    const Request* next() {
        if (n_begun_ == job_.prompts.size() || job_.asked_to_stop()) return nullptr;
        begun_.push_back({{job_.prompts[n_begun_++], job_.options}, AnswerText(job_.tokenizer, job_.stop)});
        Begun& b = begun_.back();
        b.request.on_token = [this, &b](int32_t token) {
            b.shown += b.text.push(token);
            return !b.text.stopped() && !job_.asked_to_stop();
        };
        return &b.request;
    }

    void end(const Request& request, const Generation& answer) {
        for (Begun& b : begun_)
            if (&b.request == &request) end(b, answer);
        while (!begun_.empty() && begun_.front().line) {
            job_.write(*begun_.front().line);
            begun_.pop_front();
        }
    }

    const BatchCounts& counts() const { return counts_; }

private:
    void end(Begun& b, const Generation& answer) {
        b.shown += b.text.finish();
        b.line = {b.shown, std::ssize(b.request.prompt), std::ssize(answer.tokens),
                  reason_name(answer.reason, b.text.stopped())};
        counts_.prompt_tokens += b.line->prompt_tokens;
        counts_.new_tokens += b.line->new_tokens;
        counts_.n_empty += answer.tokens.empty() ? 1 : 0;
    }

    const BatchJob& job_;
    std::deque<Begun> begun_;  // and not written, in their order
    size_t n_begun_ = 0;
    BatchCounts counts_;
};

}  // namespace

BatchCounts answer_batch(Generator& generator, const BatchJob& job) {
    Answers answers(job);
    generate_batch(
        generator, [&] { return answers.next(); },
        [&](const Request& request, const Generation& answer) { answers.end(request, answer); });
    return answers.counts();
}

}  // namespace ggq
