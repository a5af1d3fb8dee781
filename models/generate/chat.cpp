#include "models/generate/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/generate/answer_text.h"

namespace ggq {

namespace {

constexpr const char* kHelp =
    "/reset forgets what was said, /system TEXT sets what the system says, /lora N SCALE how much an adapter counts, "
    "/exit ends; // begins a message with a "
    "slash, \\ at the end of a line goes on with the next";

std::string trimmed(const std::string& text) {
    const size_t begin = text.find_first_not_of(" \t\r");
    if (begin == std::string::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

}  // namespace

Chat::Chat(Generator& generator, const Tokenizer& tokenizer, const PromptForm& form, const GenerationOptions& options,
           const std::vector<std::string>& stop, const GenerateEvents& events, AdapterSwitch adapters)
    : generator_(generator),
      tokenizer_(tokenizer),
      form_(form),
      options_(options),
      stop_(stop),
      events_(events),
      adapters_(std::move(adapters)),
      system_(form.system) {
    GGQ_ASSERT(form.chat.has_value() && events.ask, "a conversation needs a template and somebody who asks");
    begin_again();
}

// The cache may stay: what of it is wanted again is found when it is.
void Chat::begin_again() {
    conversation_ = {};
    if (!system_.empty()) conversation_ = with_message({}, "system", system_);
}

void Chat::run(const std::string& first) {
    if (!first.empty()) say(first);
    std::string message;
    while (!events_.asked_to_stop()) {
        const std::optional<std::string> line = events_.ask();
        if (!line) break;
        message += *line;
        if (message.ends_with('\\')) {
            message.back() = '\n';
            continue;
        }
        if (!take(std::exchange(message, {}))) return;
    }
    if (!message.empty()) take(message);
}

bool Chat::take(const std::string& line) {
    if (trimmed(line).empty()) return true;
    if (!line.starts_with('/') || line.starts_with("//")) return say(line.substr(line.starts_with("//") ? 1 : 0)), true;
    const size_t end = std::min(line.find_first_of(" \t\r\n"), line.size());
    return obey(line.substr(0, end), trimmed(line.substr(end)));
}

bool Chat::obey(const std::string& command, const std::string& rest) {
    if (command == "/exit" || command == "/quit" || command == "/bye") return false;
    if (command == "/reset" || command == "/clear") {
        begin_again();
        events_.tell("a new conversation");
    } else if (command == "/system") {
        system_ = rest;
        begin_again();
        events_.tell(system_.empty() ? "a new conversation, without a message of the system"
                                     : "a new conversation, with that message of the system");
    } else if (command == "/lora") {
        switch_adapters(rest);
    } else {
        if (command != "/help") events_.warn(fmt::format("{} is no command", shown(command)));
        events_.tell(kHelp);
    }
    return true;
}

// What was said stays, but not in the cache, which the old scales made.
void Chat::switch_adapters(const std::string& rest) try {
    if (!rest.empty()) {
        std::istringstream words(rest);
        size_t n = 0;
        double scale = 0;
        require((words >> n >> scale) && (words >> std::ws).eof() && n < adapters_.adapters.size(),
                "/lora: expected the number of an adapter and a scale, got '{}'; there are {} adapters", shown(rest),
                adapters_.adapters.size());
        std::vector<double> scales;
        for (const AdapterChoice& a : adapters_.adapters) scales.push_back(a.scale);
        scales[n] = scale;
        adapters_.set(scales);
        adapters_.adapters[n].scale = scale;
        cached_.clear();
    }
    for (size_t i = 0; i < adapters_.adapters.size(); ++i)
        events_.tell(fmt::format("{}: {}, scale {}", i, adapters_.adapters[i].path, adapters_.adapters[i].scale));
    if (adapters_.adapters.empty()) events_.tell("there is no adapter");
} catch (const Error& error) {
    events_.warn(error.what());
}

void Chat::say(const std::string& message) try { answer(message); } catch (const Error& error) {
    events_.warn(error.what());
}

// The last token of a prompt is always run, for what follows it.
size_t Chat::n_kept(const std::vector<int32_t>& ids) const {
    const size_t most = std::min(ids.size() - 1, cached_.size());
    size_t n = 0;
    while (n < most && ids[n] == cached_[n]) ++n;
    return n;
}

void Chat::answer(const std::string& message) {
    Conversation asked = with_message(conversation_, "user", message);
    const Prompt prompt = encode_prompt(asked, form_, tokenizer_, generator_.vocab_size(), "the conversation");
    const int64_t n = std::ssize(prompt.ids), room = generator_.context();
    require(n < room,
            "the conversation has {} tokens with this message and the context holds {}; /reset begins a new one, and "
            "`max_length` gives more room",
            n, room);
    const size_t kept = n_kept(prompt.ids);
    AnswerText text(tokenizer_, stop_);
    std::string said;
    const auto emit = [&](const std::string& piece) {
        said += piece;
        if (!piece.empty() && events_.text) events_.text(piece);
    };
    cached_.resize(kept);  // whatever happens
    const Generation answer = generator_.generate(
        prompt.ids, options_,
        [&](int32_t token) {
            emit(text.push(token));
            return !text.stopped() && !events_.asked_to_stop() && !(events_.stop_answer && events_.stop_answer());
        },
        static_cast<int64_t>(kept));
    emit(text.finish());
    if (events_.text) events_.text("\n");
    cached_ = prompt.ids;
    if (!answer.tokens.empty())  // the last one may not have been read
        cached_.insert(cached_.end(), answer.tokens.begin(), answer.tokens.end() - 1);
    conversation_ = with_message(asked, "assistant", said);
    ++n_answers_;
    prompt_tokens_ += n - static_cast<int64_t>(kept);
    new_tokens_ += std::ssize(answer.tokens);
    if (answer.reason == StopReason::context)
        events_.warn(
            fmt::format("the context of {} tokens is full; /reset begins a new conversation, and `max_length` "
                        "gives more room",
                        room));
}

}  // namespace ggq
