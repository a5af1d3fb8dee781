// Llama as a graph: its weights as buffers of a store, and the functions that build forward passes over them.
//
// T tokens laid end to end; spans[T,2] say which keys each query sees, so documents of a packed batch never meet and a
// KV cache is the same graph (see attention in ggq/ops.h).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "ggq/buffer.h"
#include "ggq/graph.h"
#include "ggq/stop.h"
#include "kernels/params.h"
#include "models/config.h"
#include "models/weights.h"

namespace ggq {

struct Model;
class TensorSource;

struct Linear {
    std::string module;          // "model.layers.0.self_attn.q_proj"
    Buffer* weight = nullptr;    // [out, in]
    Buffer* bias = nullptr;      // [out], null without one
    Buffer* a = nullptr;         // [r, in], null without an adapter
    Buffer* b = nullptr;         // [out, r]
    double scaling = 1;          // alpha / r, or alpha / sqrt(r)
    DropoutParams dropout = {};  // of what A multiplies
};

struct LlamaLayer {
    Buffer* input_norm = nullptr;
    Buffer* post_attention_norm = nullptr;
    Buffer *q_norm = nullptr, *k_norm = nullptr;  // [head_dim], null without them
    Linear q, k, v, o, gate, up, down;
};

struct Llama {
    LlamaConfig config;
    DType compute = DType::f32;   // of activations and products
    Buffer* embedding = nullptr;  // [V, C]
    std::vector<LlamaLayer> layers;
    Buffer* norm = nullptr;
    Buffer* head = nullptr;                  // [V, C]; the embedding if tied
    Buffer* frequencies = nullptr;           // [head_dim / 2]
    std::map<std::string, Buffer*> weights;  // by name, one a weight row
    std::vector<Linear*> adapted;            // in model order; valid as long as `layers` is not moved from
};

// Name and shape of one trained tensor.
struct TrainedTensor {
    std::string name;
    Shape shape;
    bool decays = true;  // takes weight decay: all but norms, as in transformers
};

// What is trained under a choice: every weight, or A [r, in] and B [out, r] of each adapted linear
// ("MODULE.lora_A.weight").
std::vector<TrainedTensor> trained_tensors(const LlamaConfig& config, const WeightChoice& choice);

// Declares all weights in `store` but those that `parameters` holds already.
std::unique_ptr<Llama> declare_llama(Store& store, const Model& model, const WeightChoice& choice,
                                     const std::map<std::string, Buffer*>& parameters = {});

// Fills all weights but adapters, once the store is allocated.
void load_weights(Store& store, const Llama& llama, const TensorSource& source, const StopAsked& stop = {});

// The inputs of a forward pass over a fixed number of tokens.
struct LlamaInputs {
    Tensor ids;        // [T] i32
    Tensor positions;  // [T] i32
    Tensor spans;      // [T,2] i32
    Tensor rng;        // [2] i64 {seed, counter}, for dropout
};

// Keys and values of earlier tokens, a pair a layer, [context, key heads, head size].
struct KvCache {
    std::vector<Buffer*> k, v;
    Buffer* at = nullptr;  // [1] i32: where the next tokens go
};

// What stands for weights in a graph, where that is not the weight itself: a copy in the computing type.
using WorkingCopies = std::map<const Buffer*, Tensor>;

struct ForwardOptions {
    bool dropout = false;                   // of the adapters, as in training
    const WorkingCopies* copies = nullptr;  // none: what is wider than the computing type is cast where it is used
    const KvCache* cache = nullptr;         // tokens are written to it and attend to all of it that their spans name
    // Rows that go through an MLP at a time, so that of a long context its wide values exist for a tile only; 0: all.
    // Sums over tokens are then made of partial ones, equal to rounding.
    int64_t mlp_tile = 0;
};

// For so many tokens: none where one tile is enough to keep a device busy.
int64_t mlp_tile_for(int64_t n_tokens);

// The last layer's normalized output [T, C].
Tensor llama_hidden(Graph& graph, const Llama& llama, const LlamaInputs& in, const ForwardOptions& options);

// Logits [T, V] f32 of hidden [T, C].
Tensor llama_logits(Graph& graph, const Llama& llama, Tensor hidden);

// Sum of the losses of the labelled tokens [1]; labels[T] i32. At most about `logits_bytes` of logits exist at a time.
Tensor llama_loss(Graph& graph, const Llama& llama, Tensor hidden, Tensor labels, HeadGradient gradient,
                  int64_t logits_bytes);

// As many as keep a device busy.
int64_t logits_bytes_for(const Backend& backend);

}  // namespace ggq
