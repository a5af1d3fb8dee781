// adapter_config.json as PEFT writes it, and PEFT's rules of which module gets which rank and scale.
// What it may say and is not held here (bias, layer_replication, ...) is refused by name.
// Source: peft/tuners/lora/config.py, peft/tuners/tuners_utils.py (check_target_module_exists, get_pattern_key).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ggq {

inline constexpr std::string_view kAllLinear = "all-linear";

// By regular expression on the end of a module's name, in the order of the file: the first that matches counts.
template <typename Value>
using ByPattern = std::vector<std::pair<std::string, Value>>;

struct LoraConfig {
    int64_t r = 8;
    double alpha = 8;
    double dropout = 0;
    bool use_rslora = false;
    bool use_dora = false;                     // rows of the sum have a length of their own, the magnitude
    std::vector<std::string> target_modules;   // ends of module names, in the order of the file; or, if empty,
    std::string target_pattern;                // a regular expression over whole names, or kAllLinear
    std::vector<int64_t> layers_to_transform;  // empty: all
    std::vector<std::string> layers_pattern;   // what stands before a layer's number; empty: anything
    std::vector<std::string> exclude_modules;  // of those: ends of names; or, if empty,
    std::string exclude_pattern;               // a regular expression over whole names; empty: none
    std::vector<std::string> modules_to_save;  // ends of the names of modules that are in the adapter as a whole
    bool ensure_weight_tying = false;          // a table that is also the head stays so
    ByPattern<int64_t> rank_pattern;
    ByPattern<double> alpha_pattern;
    std::string base_model;  // base_model_name_or_path
    std::string source;      // the JSON text this was read from; empty if it was made in memory
};

LoraConfig parse_lora_config(std::string_view json_text, const std::string& where);

// Refuses ranks, rates and targets that make no sense. `where` names the origin in errors.
void check_lora_config(const LoraConfig& config, const std::string& where);

// The text of adapter_config.json: the source with what was changed since rewritten, or a new one with the keys that
// every PEFT knows. `modules` (full names) resolve "all-linear" into the list that PEFT writes.
std::string lora_config_text(const LoraConfig& config, const std::vector<std::string>& modules);

// Whether the linear layer `module` ("model.layers.0.self_attn.q_proj") carries an adapter, by PEFT's rules.
bool module_matches(const std::string& module, const LoraConfig& config);

// Whether the adapter holds the module as a whole, by modules_to_save.
bool is_saved_module(const std::string& module, const LoraConfig& config);

int64_t lora_rank(const std::string& module, const LoraConfig& config);
double lora_scale(const std::string& module, const LoraConfig& config);  // alpha / r, with rsLoRA alpha / sqrt(r)

}  // namespace ggq
