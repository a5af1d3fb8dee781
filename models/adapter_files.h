// A PEFT adapter folder, read and written so that PEFT, transformers and llama.cpp's converter take it:
//   adapter_config.json        rank, alpha, targets (keys and layout as PEFT writes them)
//   adapter_model.safetensors  base_model.model.<module>.lora_A.weight [r, in] and .lora_B.weight [out, r]; read are
//                              also names without the prefix, and with the adapter's own name before ".weight"; further
//                              .lora_magnitude_vector [out] (DoRA), .lora_embedding_A [r, vocab] and _B [dim, r] of a
//                              table, and <module>.weight of what is in it as a whole (modules_to_save)
//   ggq_base.json              ours: how the base was quantized while the adapter was trained, its hash, and the hashes
//                              of the other two, without which nobody would notice that they do not belong together
// What an adapter may hold and this program does not (bias, ...) is refused by name.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ggq/io/safetensors.h"
#include "models/base_record.h"
#include "models/lora_config.h"

namespace ggq {

struct LoraTensors {
    FileTensor a;               // [r, in]; of a table [r, vocab]
    FileTensor b;               // [out, r]; of a table [dim, r]
    FileTensor magnitude = {};  // [out], DoRA's; no data: none
    bool is_table = false;      // of an embedding, whose update is (b a)^T
};

inline constexpr const char* kAdapterConfigFile = "adapter_config.json";

using LoraModules = std::map<std::string, LoraTensors>;  // by full module name

struct Adapter {
    LoraConfig config;
    std::filesystem::path file;  // of its tensors, for messages
    LoraModules modules;
    FileTensors whole;  // modules that it holds as a whole, by module name
    std::optional<BaseRecord> base;
    bool files_checked = false;  // against the hashes in ggq_base.json, which it holds unless somebody else wrote it
    std::shared_ptr<const void> memory;  // of all tensors
};

// Whether it is no more than low-rank updates of linears within layers, which are computed beside a base.
bool is_plain_lora(const Adapter& adapter);

// Checks the files against ggq_base.json, where it is there and holds their hashes.
Adapter read_adapter(const std::filesystem::path& folder, const StopAsked& stop = {});

// Writes the three files into a folder that is there, which is the staging of an AtomicFolder if several files belong
// together (a checkpoint).
void write_adapter(const std::filesystem::path& folder, const LoraConfig& config, const LoraModules& modules,
                   const std::optional<BaseRecord>& base, const FileTensors& whole = {});

// What an adapter of ours in this folder consists of, tokenizer files among it; nothing if it holds none. The last one
// is that by which it is known as ours.
std::vector<std::string> files_of_own_adapter(const std::filesystem::path& folder);

// Refuses those files of a tokenizer that copy_tokenizer_files() would, so that a run need not end to learn of it.
void check_tokenizer_files(const std::filesystem::path& folder);

// Copies those files of a tokenizer that are there.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace ggq
