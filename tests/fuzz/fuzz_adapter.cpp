// An adapter folder: adapter_config.json, and behind a line of its own the header of the tensors.
#include "models/adapter_files.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    constexpr std::string_view kBreak = "\n---\n";
    const std::string_view text = fuzz::text_of(data, size);
    const std::string_view config = text.substr(0, text.find(kBreak));
    const bool has_header = config.size() < text.size();
    folder.write("adapter_config.json", config);
    folder.write("adapter_model.safetensors",
                 fuzz::with_header(has_header ? text.substr(config.size() + kBreak.size()) : "{}", 56));
    fuzz::refuse_or_read([&] {
        const LoraConfig lora = parse_lora_config(config, "adapter_config.json");
        for (const char* module : {"model.layers.0.self_attn.q_proj", "model.layers.11.mlp.up_proj", "lm_head"})
            if (module_matches(module, lora)) lora_scale(module, lora);
        parse_lora_config(lora_config_text(lora, {"model.layers.0.self_attn.q_proj"}), "adapter_config.json");
    });
    fuzz::refuse_or_read([&] { read_adapter(folder.path()); });
    return 0;
}
