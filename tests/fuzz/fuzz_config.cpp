// config.json and generation_config.json: what is read can be written and read again.
#include "models/config.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    const std::string_view text = fuzz::text_of(data, size);
    fuzz::refuse_or_read([&] {
        const LlamaConfig config = parse_config(text, "config.json");
        const LlamaConfig again = parse_config(config_text(config), "config.json");
        if (function_text(again) != function_text(config)) std::abort();
        if (config.head_dim < 4096) rope_frequencies(config);
    });
    folder.write("config.json", R"({"model_type":"llama","vocab_size":8,"hidden_size":8,"intermediate_size":8,)"
                                R"("num_hidden_layers":1,"num_attention_heads":1})");
    folder.write("generation_config.json", text);
    fuzz::refuse_or_read([&] { read_config(folder.path()); });
    return 0;
}
