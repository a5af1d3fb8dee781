#include "models/llama.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "ggq/ops.h"
#include "kernels/rounding.h"
#include "models/model.h"

namespace ggq {

namespace {

std::string lora_name(const std::string& module, char part) { return module + ".lora_" + part + ".weight"; }

// Finds or declares the buffers of one model.
class Declarer {
public:
    Declarer(Store& store, const WeightChoice& choice, const std::map<std::string, Buffer*>& parameters, Llama& llama)
        : store_(store), choice_(choice), parameters_(parameters), llama_(llama) {}

    void declare_weights(const TensorSource& source) {
        for (const WeightRow& row : weight_rows(llama_.config)) {
            const TensorType stored = source.type(row);
            Buffer* weight = find_or_declare(row.name, Kind::constant,
                                             source.is_fixed(row) ? stored : weight_type(row, stored, choice_));
            weight->pageable = row.role == WeightRole::linear && weight->kind == Kind::constant;
            llama_.weights[row.name] = weight;
        }
    }

    Linear linear(const std::string& module) {
        Linear l{.module = module, .weight = weight(module), .bias = find(module + ".bias")};
        if (!is_adapted(module, choice_)) return l;
        const Shape& w = l.weight->type.shape;
        const int64_t r = lora_rank(module, *choice_.lora);
        l.a = find_or_declare(lora_name(module, 'A'), Kind::constant, {choice_.adapter_dtype, {r, w[1]}, {}});
        l.b = find_or_declare(lora_name(module, 'B'), Kind::constant, {choice_.adapter_dtype, {w[0], r}, {}});
        l.scaling = lora_scale(module, *choice_.lora);
        l.dropout = {static_cast<float>(choice_.lora->dropout), ++site_};
        return l;
    }

    Buffer* weight(const std::string& module) const { return llama_.weights.at(module + ".weight"); }

    // Null if the model has none of that name.
    Buffer* find(const std::string& name) const {
        const auto found = llama_.weights.find(name);
        return found == llama_.weights.end() ? nullptr : found->second;
    }

private:
    Buffer* find_or_declare(const std::string& name, Kind kind, const TensorType& type) {
        if (const auto it = parameters_.find(name); it != parameters_.end()) return it->second;
        return &store_.declare(name, kind, type);
    }

    Store& store_;
    const WeightChoice& choice_;
    const std::map<std::string, Buffer*>& parameters_;
    Llama& llama_;
    uint32_t site_ = 0;
};

LlamaLayer declare_layer(Declarer& d, int64_t index) {
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    LlamaLayer layer;
    layer.input_norm = d.weight(prefix + "input_layernorm");
    layer.post_attention_norm = d.weight(prefix + "post_attention_layernorm");
    layer.q_norm = d.find(prefix + "self_attn.q_norm.weight");
    layer.k_norm = d.find(prefix + "self_attn.k_norm.weight");
    layer.q = d.linear(prefix + "self_attn.q_proj");
    layer.k = d.linear(prefix + "self_attn.k_proj");
    layer.v = d.linear(prefix + "self_attn.v_proj");
    layer.o = d.linear(prefix + "self_attn.o_proj");
    layer.gate = d.linear(prefix + "mlp.gate_proj");
    layer.up = d.linear(prefix + "mlp.up_proj");
    layer.down = d.linear(prefix + "mlp.down_proj");
    return layer;
}

}  // namespace

std::vector<TrainedTensor> trained_tensors(const LlamaConfig& config, const WeightChoice& choice) {
    std::vector<TrainedTensor> tensors;
    if (choice.train_all) {
        for (const WeightRow& row : weight_rows(config))
            tensors.push_back({row.name, row.shape, row.role != WeightRole::norm && row.role != WeightRole::bias});
        return tensors;
    }
    for (const WeightRow& row : weight_rows(config)) {
        const std::string module = row.module();
        if (row.role != WeightRole::linear || !is_adapted(module, choice)) continue;
        const int64_t r = lora_rank(module, *choice.lora);
        tensors.push_back({lora_name(module, 'A'), {r, row.shape[1]}, true});
        tensors.push_back({lora_name(module, 'B'), {row.shape[0], r}, true});
    }
    return tensors;
}

std::unique_ptr<Llama> declare_llama(Store& store, const Model& model, const WeightChoice& choice,
                                     const std::map<std::string, Buffer*>& parameters) {
    const LlamaConfig& config = model.config;
    auto llama = std::make_unique<Llama>();
    llama->config = config;
    llama->compute = choice.compute();
    Declarer d(store, choice, parameters, *llama);
    d.declare_weights(*model.weights);
    llama->embedding = d.weight("model.embed_tokens");
    llama->norm = d.weight("model.norm");
    // Few of its rows are read at a time: it need not be on a device that reads the host's memory by itself.
    if (!config.tie_word_embeddings && llama->embedding->kind == Kind::constant && !store.backend().reads_host_memory())
        store.set_residence(*llama->embedding, Residence::mapped);
    llama->head = config.tie_word_embeddings ? llama->embedding : d.weight("lm_head");
    llama->frequencies = &store.declare("rope_frequencies", Kind::constant, {DType::f32, {config.head_dim / 2}, {}});
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) llama->layers.push_back(declare_layer(d, i));
    for (LlamaLayer& layer : llama->layers)
        for (Linear* l : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
            if (l->a) llama->adapted.push_back(l);
    return llama;
}

void load_weights(Store& store, const Llama& llama, const TensorSource& source, const StopAsked& stop) {
    store.write(*llama.frequencies, rope_frequencies(llama.config).data());
    for (const WeightRow& row : weight_rows(llama.config)) {
        end_if_asked(stop);
        source.load(row, store, *llama.weights.at(row.name));
    }
}

namespace {

// A weight that is wider than the computing type is cast to it; products read narrower ones as they are.
Tensor operand(Graph& graph, const Buffer& weight, DType compute) {
    const Tensor w = graph.bind(weight);
    return info(w.dtype()).bytes > info(compute).bytes ? cast(w, compute) : w;
}

// Adapted linears that can get their x a^T from one step: neighbours by site, of one rank.
bool go_together(const Linear& l, const Linear& next) {
    return l.a && next.a && l.a->type.shape == next.a->type.shape && next.dropout.site == l.dropout.site + 1;
}

// Forward of one model over one graph.
struct Forward {
    Graph& graph;
    const Llama& llama;
    const LlamaInputs& in;
    const ForwardOptions& options;

    Tensor adapter(const Buffer& part, DType compute) const {
        if (options.copies)
            if (const auto copy = options.copies->find(&part); copy != options.copies->end()) return copy->second;
        return operand(graph, part, compute);
    }

    // x a^T of the adapted ones among linears that share x, empty for the others. `first_row`: of x among the rows of
    // which it is a tile; its dropout goes on where that of the tile before ended.
    std::vector<Tensor> down(const std::vector<const Linear*>& linears, Tensor x, int64_t first_row) const {
        std::vector<Tensor> all(linears.size());
        for (size_t i = 0, end = 0; i < linears.size(); i = end) {
            for (end = i + 1; end < linears.size() && go_together(*linears[end - 1], *linears[end]); ++end) {
            }
            if (!linears[i]->a) continue;
            const LayerScope scope(graph, linears[i]->module);
            DropoutParams dropout = linears[i]->dropout;
            dropout.first = first_row * x.shape()[1];
            if (!options.dropout) dropout.p = 0;
            std::vector<Tensor> a;
            for (size_t j = i; j < end; ++j) a.push_back(adapter(*linears[j]->a, x.dtype()));
            std::ranges::copy(lora_down(x, in.rng, a, dropout), all.begin() + static_cast<std::ptrdiff_t>(i));
        }
        return all;
    }

    // x w^T with its update by xa, if there is one, and with `sum` added, if there is one.
    Tensor linear(const Linear& l, Tensor x, Tensor xa, Tensor sum = {}) const {
        const LayerScope scope(graph, l.module);
        const Tensor w = operand(graph, *l.weight, x.dtype());
        if (xa) return with_bias(l, lora_linear(x, w, xa, adapter(*l.b, x.dtype()), l.scaling, sum));
        const Tensor y = ggq::linear(x, w);
        return with_bias(l, sum ? add(sum, y) : y);
    }

    // The bias on each row of y [T, out]: rows of a table of one.
    Tensor with_bias(const Linear& l, Tensor y) const {
        if (!l.bias) return y;
        const LayerScope scope(graph, l.module);
        const Tensor zeros = full(graph, {DType::i32, {y.shape()[0]}, {}}, 0);
        return add(y, embedding(reshape(graph.bind(*l.bias), {1, y.shape()[1]}), zeros, y.dtype()));
    }

    Tensor norm(Tensor x, const Buffer& w) const { return rms_norm(x, graph.bind(w), eps()); }

    // Whether linears take the fused ops of text generation: where none of them, or all, have an adapter.
    bool fuses(std::initializer_list<const Linear*> linears) const {
        return options.cache && std::ranges::all_of(linears, [](const Linear* l) { return !l->a; });
    }
    bool fuses_adapted(std::initializer_list<const Linear*> linears) const {
        return options.cache && !options.dropout && std::ranges::all_of(linears, [](const Linear* l) { return l->a; });
    }

    Adapted adapted(const Linear& l) const {
        const LayerScope scope(graph, l.module);
        return {operand(graph, *l.weight, llama.compute), graph.bind(*l.a), graph.bind(*l.b),
                static_cast<float>(l.scaling)};
    }

    Tensor weight(const Linear& l) const {
        const LayerScope scope(graph, l.module);
        return operand(graph, *l.weight, llama.compute);
    }

    Tensor heads(Tensor x, int64_t n_heads) const { return reshape(x, {x.shape()[0], n_heads, llama.config.head_dim}); }

    // Of each head of x [T, heads, head_dim] on its own.
    Tensor norm_heads(Tensor x, const Buffer* w) const {
        if (!w) return x;
        const Shape shape = x.shape();
        return reshape(norm(reshape(x, {shape[0] * shape[1], shape[2]}), *w), shape);
    }

    float eps() const { return static_cast<float>(llama.config.rms_norm_eps); }

    // q, k and v of the normalized x as heads.
    Qkv project(const LlamaLayer& layer, Tensor x) const {
        const LlamaConfig& c = llama.config;
        Qkv y;
        const Tensor w = graph.bind(*layer.input_norm);
        if (fuses({&layer.q, &layer.k, &layer.v})) {
            y = with_biases(layer, norm_qkv(x, w, weight(layer.q), weight(layer.k), weight(layer.v), eps()));
        } else if (fuses_adapted({&layer.q, &layer.k, &layer.v})) {
            y = with_biases(layer, lora_norm_qkv(x, w, adapted(layer.q), adapted(layer.k), adapted(layer.v), eps()));
        } else {
            const Tensor h = norm(x, *layer.input_norm);
            const std::vector<Tensor> ha = down({&layer.q, &layer.k, &layer.v}, h, 0);
            y.q = linear(layer.q, h, ha[0]);
            y.k = linear(layer.k, h, ha[1]);
            y.v = linear(layer.v, h, ha[2]);
        }
        return {norm_heads(heads(y.q, c.num_attention_heads), layer.q_norm),
                norm_heads(heads(y.k, c.num_key_value_heads), layer.k_norm), heads(y.v, c.num_key_value_heads)};
    }

    Qkv with_biases(const LlamaLayer& layer, const Qkv& y) const {
        return {with_bias(layer.q, y.q), with_bias(layer.k, y.k), with_bias(layer.v, y.v)};
    }

    // The keys that each query sees in a layer, of n_keys in all.
    Tensor spans(size_t index, int64_t n_keys) const {
        const LlamaConfig& c = llama.config;
        const bool slides = c.sliding_window > 0 && c.sliding_window < n_keys && c.window_layers.at(index);
        return slides ? window_spans(in.spans, c.sliding_window) : in.spans;
    }

    Tensor attend(size_t index, const Qkv& x) const {
        const LlamaConfig& c = llama.config;
        const double stretch = c.rope.attention_factor;  // of q and of k
        const auto scale = static_cast<float>(stretch * stretch / std::sqrt(static_cast<double>(c.head_dim)));
        const Tensor frequencies = graph.bind(*llama.frequencies);
        if (const KvCache* cache = options.cache) {
            const Tensor keys = graph.bind(*cache->k[index]), seen = spans(index, keys.shape()[0]);
            return cached_attention(keys, graph.bind(*cache->v[index]),
                                    {x.q, x.k, x.v, in.positions, frequencies, graph.bind(*cache->at), seen}, scale);
        }
        const Rotated turned = rope(x.q, x.k, in.positions, frequencies);
        return attention(turned.q, turned.k, x.v, spans(index, x.k.shape()[0]), scale);
    }

    // x + linear(y)
    Tensor add_to(Tensor x, const Linear& l, Tensor y, int64_t first_row = 0) const {
        if (fuses({&l})) return with_bias(l, add_linear(x, y, weight(l)));
        if (fuses_adapted({&l})) return with_bias(l, lora_add_linear(x, y, adapted(l)));
        return linear(l, y, down({&l}, y, first_row)[0], x);
    }

    Tensor add_attention(const LlamaLayer& layer, size_t index, Tensor x) const {
        const LlamaConfig& c = llama.config;
        const Tensor y = attend(index, project(layer, x));
        return add_to(x, layer.o, reshape(y, {x.shape()[0], c.num_attention_heads * c.head_dim}));
    }

    // x + mlp(norm(x)), a tile of rows at a time. Halves of halves: so a sum of their gradients is no larger than they.
    Tensor add_mlp(const LlamaLayer& layer, Tensor x, int64_t first_row = 0) const {
        const int64_t n_rows = x.shape()[0], tile = options.mlp_tile;
        if (tile > 0 && n_rows > tile) {
            const int64_t half = round_up(ceil_div(n_rows, 2), tile);
            return concat_rows(add_mlp(layer, slice(x, 0, 0, half), first_row),
                               add_mlp(layer, slice(x, 0, half, n_rows), first_row + half));
        }
        const TileScope scope(graph, tile > 0 ? static_cast<int32_t>(first_row / tile) : -1);
        return add_to(x, layer.down, widen(layer, x, first_row), first_row);
    }

    Tensor widen(const LlamaLayer& layer, Tensor x, int64_t first_row) const {
        const Tensor w = graph.bind(*layer.post_attention_norm);
        if (fuses({&layer.gate, &layer.up})) return norm_swiglu(x, w, weight(layer.gate), weight(layer.up), eps());
        if (fuses_adapted({&layer.gate, &layer.up}))
            return lora_norm_swiglu(x, w, adapted(layer.gate), adapted(layer.up), eps());
        const Tensor m = norm(x, *layer.post_attention_norm);
        const std::vector<Tensor> ma = down({&layer.gate, &layer.up}, m, first_row);
        return swiglu(linear(layer.gate, m, ma[0]), linear(layer.up, m, ma[1]));
    }

    Tensor run() const {
        Tensor x = embedding(graph.bind(*llama.embedding), in.ids, llama.compute);
        for (size_t i = 0; i < llama.layers.size(); ++i) {
            const LlamaLayer& layer = llama.layers[i];
            const LayerScope scope(graph, "model.layers." + std::to_string(i), static_cast<int>(i));
            x = add_mlp(layer, add_attention(layer, i, x));
        }
        const LayerScope scope(graph, "model.norm");
        return norm(x, *llama.norm);
    }
};

int chunk_rows(int64_t vocabulary, int64_t logits_bytes) {
    return static_cast<int>(std::clamp<int64_t>(logits_bytes / 4 / vocabulary, 32, 4096));
}

}  // namespace

int64_t mlp_tile_for(int64_t n_tokens) {
    constexpr int64_t kTile = 8192, kMostTiles = 64;  // more would make the graph long, not the values small
    return n_tokens > kTile ? std::max(kTile, ceil_div(n_tokens, kMostTiles)) : 0;
}

Tensor llama_hidden(Graph& graph, const Llama& llama, const LlamaInputs& in, const ForwardOptions& options) {
    return Forward{graph, llama, in, options}.run();
}

Tensor llama_logits(Graph& graph, const Llama& llama, Tensor hidden) {
    const LayerScope scope(graph, "lm_head");
    return cast(linear(hidden, operand(graph, *llama.head, hidden.dtype())), DType::f32);
}

Tensor llama_loss(Graph& graph, const Llama& llama, Tensor hidden, Tensor labels, HeadGradient gradient,
                  int64_t logits_bytes) {
    const LayerScope scope(graph, "lm_head");
    return linear_cross_entropy(hidden, operand(graph, *llama.head, hidden.dtype()), labels, gradient,
                                chunk_rows(llama.config.vocab_size, logits_bytes));
}

int64_t logits_bytes_for(const Backend& backend) { return (backend.reads_host_memory() ? 16ll : 256ll) << 20; }

}  // namespace ggq
