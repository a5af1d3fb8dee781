// A PEFT adapter folder, read and written so that PEFT, transformers and llama.cpp's converter take it:
//   adapter_config.json        rank, alpha, targets (keys and layout as PEFT writes them)
//   adapter_model.safetensors  base_model.model.<module>.lora_A.weight [r, in] and .lora_B.weight [out, r]; read are
//                              also names without the prefix, and with the adapter's own name before ".weight"
//   ggq_base.json              ours: how the base was quantized while the adapter was trained, its hash, and the hashes
//                              of the other two, without which nobody would notice that they do not belong together
// What an adapter may hold and this program does not (DoRA, bias, modules_to_save, ...) is refused by name.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ggq/io/safetensors.h"
#include "models/base_record.h"
#include "models/lora_config.h"

namespace ggq {

struct LoraTensors {
    FileTensor a;  // [r, in]
    FileTensor b;  // [out, r]
};

inline constexpr const char* kAdapterConfigFile = "adapter_config.json";

using LoraModules = std::map<std::string, LoraTensors>;  // by full module name

struct Adapter {
    LoraConfig config;
    SafetensorsFile file;  // holds what `modules` point to
    LoraModules modules;
    std::optional<BaseRecord> base;
    bool files_checked = false;  // against the hashes in ggq_base.json, which it holds unless somebody else wrote it
};

// Checks the files against ggq_base.json, where it is there and holds their hashes.
Adapter read_adapter(const std::filesystem::path& folder, const StopAsked& stop = {});

// Writes the three files into a folder that is there, which is the staging of an AtomicFolder if several files belong
// together (a checkpoint).
void write_adapter(const std::filesystem::path& folder, const LoraConfig& config, const LoraModules& modules,
                   const std::optional<BaseRecord>& base);

// What an adapter of ours in this folder consists of, tokenizer files among it; nothing if it holds none. The last one
// is that by which it is known as ours.
std::vector<std::string> files_of_own_adapter(const std::filesystem::path& folder);

// Refuses those files of a tokenizer that copy_tokenizer_files() would, so that a run need not end to learn of it.
void check_tokenizer_files(const std::filesystem::path& folder);

// Copies those files of a tokenizer that are there.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace ggq
