// What the tensors of a Hugging Face model are called in a GGUF file of llama.cpp, and how rows of q and k lie there.
//
//   model.embed_tokens  token_embd        model.layers.N.input_layernorm           blk.N.attn_norm
//   model.norm          output_norm       model.layers.N.post_attention_layernorm  blk.N.ffn_norm
//   lm_head             output            model.layers.N.self_attn.q_proj, k, v    blk.N.attn_q, k, v
//                                         model.layers.N.self_attn.o_proj          blk.N.attn_output
//                                         model.layers.N.mlp.gate_proj, up, down   blk.N.ffn_gate, up, down
//
// What follows the module (".weight", ".weight.lora_a") stays. Source: github.com/ggml-org/llama.cpp,
// gguf-py/gguf/tensor_mapping.py and LlamaModel.permute of its converter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ggq {

// Nothing for a name of no such module. `hf` begins with a module's name, "model.layers.0.mlp.up_proj.weight".
std::optional<std::string> gguf_name(std::string_view hf);
// The other way.
std::optional<std::string> hf_name(std::string_view gguf);

// Whether the architecture "llama" stores the rows of a module in another order (q_proj, k_proj), so that the two
// halves of a head, which rotate together, alternate.
bool is_permuted(std::string_view hf);

// Where row `row` of the Hugging Face layout of such a module lies in the file.
int64_t permuted_row(int64_t row, int64_t head_dim);

}  // namespace ggq
