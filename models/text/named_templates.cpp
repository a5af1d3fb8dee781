#include "models/text/named_templates.h"

#include <utility>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

struct Row {
    std::string name, source;
};

const std::vector<Row>& rows() {
    static const std::vector<Row> table = {
        {"chatml",
         "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
         "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
        // A system message stands within the first user's.
        {"llama2",
         "{% set system = '' %}{% set turns = messages %}{% if messages[0]['role'] == 'system' %}{% set system = "
         "'<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set turns = messages[1:] %}{% endif %}"
         "{% for message in turns %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if "
         "loop.first else '') + message['content'].strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
         "{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% else %}{{ raise_exception('Only user, assistant "
         "and one leading system message are known to this template') }}{% endif %}{% endfor %}"},
        {"llama3",
         "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
         "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if "
         "add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
        {"mistral",
         "{{ bos_token }}{% set system = '' %}{% set turns = messages %}{% if messages[0]['role'] == 'system' %}{% set "
         "system = messages[0]['content'] + '\\n\\n' %}{% set turns = messages[1:] %}{% endif %}{% for message in "
         "turns %}{% if message['role'] == 'user' %}{{ '[INST] ' + (system if loop.first else '') + "
         "message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + "
         "eos_token }}{% else %}{{ raise_exception('Only user, assistant and one leading system message are known to "
         "this template') }}{% endif %}{% endfor %}"},
        {"vicuna",
         "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}{% elif "
         "message['role'] == 'user' %}{{ 'USER: ' + message['content'] + '\\n' }}{% elif message['role'] == "
         "'assistant' %}{{ 'ASSISTANT: ' + message['content'] + eos_token + '\\n' }}{% endif %}{% endfor %}{% if "
         "add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"},
        {"zephyr",
         "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    };
    return table;
}

}  // namespace

const std::string& named_template(const std::string& name) {
    std::string known;
    for (const Row& row : rows()) {
        if (row.name == name) return row.source;
        known += (known.empty() ? "" : ", ") + row.name;
    }
    fail("chat template '{}' is not known; known are {}", shown(name), known);
}

const std::vector<std::string>& named_template_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const Row& row : rows()) all.push_back(row.name);
        return all;
    }();
    return names;
}

}  // namespace ggq
