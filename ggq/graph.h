// Graph: values and the steps that make them, in the order in which they run.
//
// Builders (ggq/ops.h) append steps; backward() appends the gradient's steps. A graph holds no data: persistent tensors
// are bound to Buffers, temporaries get their place from a Plan.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ggq/buffer.h"
#include "ggq/op.h"
#include "ggq/tensor.h"

namespace ggq {

struct Value {
    TensorType type;
    Strides strides;
    int64_t first = 0;  // elements from the start of the storage (views)
    Kind kind = Kind::temporary;
    std::string name;
    const Buffer* buffer = nullptr;  // where a persistent value lives
    int32_t storage = -1;            // the value that owns the memory: itself, or the base of a view or in-out result
    int32_t step = -1;               // its producer; -1 for persistent values
    int32_t overwritten_by = -1;     // of a storage: the step that writes other bytes over it
    bool output = false;             // stays readable after the run

    bool contiguous() const;
};

struct Step {
    const OpDef* op = nullptr;
    ParamBlock params;
    std::vector<int32_t> in, out;
    int32_t layer = -1;  // the layer it belongs to, or -1: the unit of recomputation
    int32_t scope = 0;   // for Graph::scope_of()
    bool backward = false;
    int32_t tile = -1;  // of a layer's rows, where they are taken in tiles
};

class Graph {
public:
    Graph() : scopes_{""} {}
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    // The persistent tensor of a buffer, the same handle at every call (its newest version after in-place writes).
    // Buffers that share memory (slices) can all be read, but where one is written, the others cannot be used any more.
    Tensor bind(const Buffer& buffer);

    // Keeps a temporary until the end of the run, for Program::read.
    void mark_output(Tensor t);

    // Appends one step; checks the inputs, copies those whose strides the kernel cannot take, and returns the first
    // `n_out` outputs (all that are not optional by default).
    std::vector<Tensor> append(const OpDef& op, std::vector<Tensor> in, const ParamBlock& params = {}, int n_out = -1);

    // Appends a view of `base` (op rows with view = true).
    Tensor append_view(const OpDef& op, Tensor base, const ParamBlock& params, const Shape& shape,
                       const Strides& strides, int64_t first);

    const std::vector<Value>& values() const { return values_; }
    const std::vector<Step>& steps() const { return steps_; }
    const Value& value(Tensor t) const { return values_[static_cast<size_t>(t.id)]; }
    const std::string& scope_of(const Step& s) const { return scopes_[static_cast<size_t>(s.scope)]; }
    OpCall call(const Step& step, std::vector<TensorType>& types) const;  // `types` holds the spans' memory

private:
    friend class LayerScope;
    friend class BackwardScope;
    friend class TileScope;

    Tensor add_value(Value value);
    void check_current(const OpDef& op, Tensor t) const;
    Tensor readable_input(const OpDef& op, Tensor t, int free_strides);
    Value result(const TensorType& type) const;
    Value overwritten(const OpDef& op, std::string_view arg, const Value& target, const TensorType& type) const;
    void note_write(int32_t storage, const Buffer& buffer);
    bool is_view(const Value& v) const { return v.step >= 0 && steps_[static_cast<size_t>(v.step)].op->view; }

    std::vector<Value> values_;
    std::vector<Step> steps_;
    std::vector<std::string> scopes_;
    std::unordered_map<const Buffer*, int32_t> bound_;                           // newest version of each buffer
    std::unordered_map<const Buffer*, std::vector<const Buffer*>> bound_parts_;  // of each buffer that is no slice
    int32_t layer_ = -1, scope_ = 0, tile_ = -1;
    bool backward_ = false;
};

// Names the part of the model that the following steps belong to ("model.layers.3.mlp"); with a layer number it is
// also the unit of recomputation.
class LayerScope {
public:
    LayerScope(Graph& graph, std::string name, int layer);
    LayerScope(Graph& graph, std::string name) : LayerScope(graph, std::move(name), graph.layer_) {}
    ~LayerScope();
    LayerScope(const LayerScope&) = delete;
    LayerScope& operator=(const LayerScope&) = delete;

private:
    Graph& graph_;
    int32_t layer_, scope_;
};

// Numbers the tile that the following steps belong to: those of tiles are alike, step by step.
class TileScope {
public:
    TileScope(Graph& graph, int32_t tile) : graph_(graph) { graph.tile_ = tile; }
    ~TileScope() { graph_.tile_ = -1; }
    TileScope(const TileScope&) = delete;
    TileScope& operator=(const TileScope&) = delete;

private:
    Graph& graph_;
};

// One line a step: op, scope, inputs and outputs with names and types.
std::string to_string(const Graph& graph);

}  // namespace ggq
