#include "ggq/graph.h"

#include <algorithm>
#include <functional>
#include <span>

#include "ggq/error.h"
#include "ggq/op_table.h"

namespace ggq {

namespace {

bool strides_fit(const Value& v, int free_strides) {
    if (free_strides == 2 || v.contiguous()) return true;
    const int last = v.type.shape.rank - 1;
    return free_strides == 1 && (v.type.shape[last] == 1 || v.strides[last] == 1);
}

}  // namespace

bool Value::contiguous() const { return View{nullptr, type.dtype, type.shape, strides, {}}.contiguous(); }

Tensor Graph::add_value(Value value) {
    const auto id = static_cast<int32_t>(values_.size());
    if (value.storage < 0) value.storage = id;
    values_.push_back(std::move(value));
    return {this, id};
}

Tensor Graph::bind(const Buffer& buffer) {
    if (auto it = bound_.find(&buffer); it != bound_.end()) return {this, it->second};
    std::vector<const Buffer*>& parts = bound_parts_[&buffer.root()];
    for (const Buffer* other : parts)
        require(!buffer.overlaps(*other) || values_[static_cast<size_t>(bound_.at(other))].step < 0,
                "bind: {} shares memory with {}, which was overwritten; use only one of the two", buffer.name,
                other->name);
    parts.push_back(&buffer);
    Value v;
    v.type = buffer.type;
    v.strides = contiguous_strides(buffer.type.shape);
    v.kind = buffer.kind;
    v.name = buffer.name;
    v.buffer = &buffer;
    const Tensor t = add_value(std::move(v));
    bound_[&buffer] = t.id;
    return t;
}

void Graph::mark_output(Tensor t) { values_[static_cast<size_t>(value(t).storage)].output = true; }

// In-place writes make a new version of a value; reading an older one after the write would read the new bytes.
void Graph::check_current(const OpDef& op, Tensor t) const {
    require(t.graph == this, "[{}] an input belongs to another graph", op.name);
    const Value& v = value(t);
    const int32_t by = values_[static_cast<size_t>(v.storage)].overwritten_by;
    if (by < 0) return;
    const std::string& where = scopes_[static_cast<size_t>(scope_)];
    const bool has_newer = values_[static_cast<size_t>(bound_.at(v.buffer))].storage != v.storage;
    fail("[{}]{}{} {} is read {}after {} has overwritten it; {}", op.name, where.empty() ? "" : " ", where, v.name,
         backward_ ? "by a gradient " : "", steps_[static_cast<size_t>(by)].op->name,
         backward_   ? "let the forward pass read a copy"
         : has_newer ? "take the newest version with bind()"
                     : "use only one of two tensors that share memory");
}

// The step appended next writes over a persistent value, and over all that shares memory with it.
void Graph::note_write(int32_t storage, const Buffer& buffer) {
    const auto step = static_cast<int32_t>(steps_.size());
    values_[static_cast<size_t>(storage)].overwritten_by = step;
    for (const Buffer* other : bound_parts_.at(&buffer.root()))
        if (other != &buffer && other->overlaps(buffer))
            values_[static_cast<size_t>(bound_.at(other))].overwritten_by = step;
}

// The tensor itself, or a contiguous copy of a view whose strides the kernel cannot take.
Tensor Graph::readable_input(const OpDef& op, Tensor t, int free_strides) {
    check_current(op, t);
    return strides_fit(value(t), free_strides) ? t : append(copy_op, {t})[0];
}

// A temporary that the step appended next makes.
Value Graph::result(const TensorType& type) const {
    Value v;
    v.type = type;
    v.strides = contiguous_strides(type.shape);
    v.step = static_cast<int32_t>(steps_.size());
    return v;
}

// What `target` is after the step appended next has written it in place.
Value Graph::overwritten(const OpDef& op, std::string_view arg, const Value& target, const TensorType& type) const {
    require(target.kind == Kind::parameter || target.kind == Kind::state,
            "[{}] {} '{}' is written in place: expected a parameter or state, got {}", op.name, arg, target.name,
            ggq::name(target.kind));
    require(!is_view(target), "[{}] {} '{}' is written in place: expected the whole tensor, got a view of it", op.name,
            arg, target.name);
    Value v = result(type);
    v.kind = target.kind;
    v.name = target.name;
    v.buffer = target.buffer;
    return v;
}

std::vector<Tensor> Graph::append(const OpDef& op, std::vector<Tensor> in, const ParamBlock& params, int n_out) {
    const Signature signature = parse_signature(op, std::ssize(in));
    const std::string& where = scopes_[static_cast<size_t>(scope_)];
    const auto optional = [](const OpArg& a) { return a.optional; };
    const auto n_optional = static_cast<size_t>(std::ranges::count_if(signature.in, optional));
    require(in.size() <= signature.in.size() && in.size() + n_optional >= signature.in.size(),
            "[{}]{}{} expected {} inputs, got {}", op.name, where.empty() ? "" : " ", where, signature.in.size(),
            in.size());
    for (size_t i = 0; i < in.size(); ++i) in[i] = readable_input(op, in[i], signature.in[i].free_strides);
    Step step{&op, params, {}, {}, layer_, scope_, backward_, tile_};
    std::vector<TensorType> types;
    for (Tensor t : in) types.push_back(t.type()), step.in.push_back(t.id);
    std::vector<TensorType> results = output_types({op, types, {}, params, where}, signature);
    const auto n_required = static_cast<size_t>(std::ranges::count_if(signature.out, std::not_fn(optional)));
    results.resize(n_out < 0 ? n_required : static_cast<size_t>(n_out));

    std::vector<Tensor> out;
    for (size_t i = 0; i < results.size(); ++i) {
        const OpArg& arg = signature.out[i];
        out.push_back(add_value(arg.inout ? overwritten(op, arg.name, value(in[i]), results[i]) : result(results[i])));
        if (const Buffer* b = value(out[i]).buffer) {
            note_write(value(in[i]).storage, *b);
            bound_[b] = out[i].id;
        }
        step.out.push_back(out[i].id);
    }
    steps_.push_back(std::move(step));
    return out;
}

Tensor Graph::append_view(const OpDef& op, Tensor base, const ParamBlock& params, const Shape& shape,
                          const Strides& strides, int64_t first) {
    check_current(op, base);
    Step step{&op, params, {base.id}, {}, layer_, scope_, backward_, tile_};
    Value v = value(base);
    v.type.shape = shape;
    v.strides = strides;
    v.first += first;
    v.step = static_cast<int32_t>(steps_.size());
    v.output = false;
    const Tensor t = add_value(std::move(v));
    step.out.push_back(t.id);
    steps_.push_back(std::move(step));
    return t;
}

OpCall Graph::call(const Step& step, std::vector<TensorType>& types) const {
    types.clear();
    for (int32_t id : step.in) types.push_back(values_[static_cast<size_t>(id)].type);
    for (int32_t id : step.out) types.push_back(values_[static_cast<size_t>(id)].type);
    const std::span<const TensorType> all(types);
    return {*step.op, all.first(step.in.size()), all.subspan(step.in.size()), step.params, scope_of(step)};
}

LayerScope::LayerScope(Graph& graph, std::string name, int layer)
    : graph_(graph), layer_(graph.layer_), scope_(graph.scope_) {
    graph.scopes_.push_back(std::move(name));
    graph.scope_ = static_cast<int32_t>(graph.scopes_.size()) - 1;
    graph.layer_ = layer;
}

LayerScope::~LayerScope() {
    graph_.layer_ = layer_;
    graph_.scope_ = scope_;
}

const TensorType& Tensor::type() const { return graph->value(*this).type; }
Kind Tensor::kind() const { return graph->value(*this).kind; }
const std::string& Tensor::name() const { return graph->value(*this).name; }

namespace {

std::string describe(const Graph& graph, int32_t id) {
    const Value& v = graph.values()[static_cast<size_t>(id)];
    const std::string label = v.name.empty() ? "%" + std::to_string(id) : v.name;
    return label + " " + to_string(v.type);
}

std::string join(const Graph& graph, const std::vector<int32_t>& ids) {
    std::string text;
    for (int32_t id : ids) text += (text.empty() ? "" : ", ") + describe(graph, id);
    return text;
}

}  // namespace

std::string to_string(const Graph& graph) {
    std::string text;
    for (const Step& s : graph.steps())
        text += fmt::format("{:<24} {:<40} {} -> {}\n", s.op->name, graph.scope_of(s), join(graph, s.in),
                            join(graph, s.out));
    return text;
}

}  // namespace ggq
