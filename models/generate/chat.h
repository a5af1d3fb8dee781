// A conversation: what was said stays in the cache of the generator's first slot, and only what is new is run.
//
// What a person enters is a message, or a command, which begins with a slash:
//   /reset        forgets all that was said but the system's message; /clear is the same
//   /system TEXT  another message of the system; forgets all that was said
//   /lora         the adapters with their scales; /lora N SCALE sets one, 0 switches it off
//   /help
//   /exit         /quit and /bye are the same
// Two slashes begin a message with one. A line that ends with a backslash goes on with the next one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/adapted_model.h"
#include "models/generate/generator.h"
#include "models/generate/prompt.h"
#include "models/generate/session.h"
#include "models/text/conversation.h"

namespace ggq {

// How the adapters of a model are switched.
struct AdapterSwitch {
    std::vector<AdapterChoice> adapters;
    std::function<void(const std::vector<double>& scales)> set;
};

class Chat {
public:
    // All must outlive it. `first`: what is said before anything is asked for; empty: nothing. The form has a chat
    // template.
    Chat(Generator& generator, const Tokenizer& tokenizer, const PromptForm& form, const GenerationOptions& options,
         const std::vector<std::string>& stop, const GenerateEvents& events, AdapterSwitch adapters = {});

    // Until events.ask gives nothing, or a command ends it. A message for which there is no room, or that the template
    // refuses, is not taken, and why is said.
    void run(const std::string& first);

    // False for the command that ends the conversation.
    bool take(const std::string& line);
    void say(const std::string& message);

    int64_t n_answers() const { return n_answers_; }
    int64_t prompt_tokens() const { return prompt_tokens_; }  // that were run; those in the cache were not
    int64_t new_tokens() const { return new_tokens_; }

private:
    bool obey(const std::string& command, const std::string& rest);
    void begin_again();
    void switch_adapters(const std::string& rest);
    void answer(const std::string& message);
    size_t n_kept(const std::vector<int32_t>& ids) const;

    Generator& generator_;
    const Tokenizer& tokenizer_;
    const PromptForm& form_;
    GenerationOptions options_;
    const std::vector<std::string>& stop_;
    const GenerateEvents& events_;
    AdapterSwitch adapters_;
    std::string system_;
    Conversation conversation_;
    std::vector<int32_t> cached_;  // tokens in the cache
    int64_t n_answers_ = 0, prompt_tokens_ = 0, new_tokens_ = 0;
};

}  // namespace ggq
