// Parsing of op signatures (the grammar is in op.h) and the shape rule that they state.
#include <algorithm>
#include <map>
#include <optional>

#include "ggq/error.h"
#include "ggq/op.h"

namespace ggq {

namespace {

// "x~:real[T,C]" and the like.
OpArg parse_arg(std::string_view word) {
    OpArg arg;
    const size_t open = word.find('[');
    GGQ_ASSERT(open != std::string_view::npos && word.back() == ']', std::string(word));
    arg.dims = word.substr(open + 1, word.size() - open - 2);
    std::string_view head = word.substr(0, open);
    const size_t colon = head.find(':');
    arg.type = colon == std::string_view::npos ? "real" : head.substr(colon + 1);
    head = head.substr(0, colon);
    while (!head.empty() && std::string_view("!?~+").find(head.back()) != std::string_view::npos) {
        arg.inout |= head.back() == '!';
        arg.optional |= head.back() == '?';
        arg.repeated |= head.back() == '+';
        arg.free_strides += head.back() == '~';
        head.remove_suffix(1);
    }
    arg.name = head;
    return arg;
}

// The sizes and the element type that a call's letters stand for.
struct Binding {
    std::map<std::string_view, int64_t> sizes;
    Shape any;
    bool any_bound = false;
    DType real = DType::f32;
    bool real_bound = false;
    std::string real_from;
};

bool type_allows(std::string_view type, DType t, const Binding& b) {
    const DTypeInfo& i = info(t);
    if (type == "any") return true;
    if (type == "real") return i.floating && (!b.real_bound || t == b.real);
    if (type == "stat") return t == (b.real == DType::f64 ? DType::f64 : DType::f32);
    if (type == "float") return i.floating;
    if (type == "quant") return i.quantized;
    if (type == "weight") return i.floating || i.quantized;
    return type == i.name;
}

template <typename F>
void for_each_dim(std::string_view dims, const F& f) {
    while (!dims.empty()) {
        const size_t comma = dims.find(',');
        f(dims.substr(0, comma));
        dims.remove_prefix(comma == std::string_view::npos ? dims.size() : comma + 1);
    }
}

// The size that `dim` ("T", "D/2", "1") stands for, or nothing when its letter is not bound yet.
std::optional<int64_t> size_of(std::string_view dim, const Binding& b) {
    if (dim.front() >= '0' && dim.front() <= '9') return std::stoll(std::string(dim));
    const size_t slash = dim.find('/');
    const auto it = b.sizes.find(dim.substr(0, slash));
    if (it == b.sizes.end()) return std::nullopt;
    return slash == std::string_view::npos ? it->second : it->second / std::stoll(std::string(dim.substr(slash + 1)));
}

std::string expected_shape(std::string_view dims, const Binding& b) {
    if (dims == "...") return b.any_bound ? to_string(b.any) : "any shape";
    std::string text;
    for_each_dim(dims, [&](std::string_view dim) {
        const auto size = size_of(dim, b);
        text += (text.empty() ? "" : ",") + (size ? std::to_string(*size) : std::string(dim));
    });
    return "[" + text + "]";
}

bool bind_shape(std::string_view dims, const Shape& shape, Binding& b) {
    if (dims == "*") return true;
    if (dims == "...") {
        const bool ok = !b.any_bound || shape == b.any;
        b.any = shape;
        b.any_bound = true;
        return ok;
    }
    int axis = 0;
    bool ok = true;
    for_each_dim(dims, [&](std::string_view dim) {
        if (axis >= shape.rank) {
            ok = false;
            return;
        }
        const int64_t actual = shape[axis++];
        const auto size = size_of(dim, b);
        if (size) ok &= *size == actual;
        else b.sizes[dim] = actual;
    });
    return ok && axis == shape.rank;
}

void bind_inputs(const OpCall& call, const Signature& signature, Binding& b) {
    for (size_t i = 0; i < call.in.size(); ++i) {
        const OpArg& arg = signature.in[i];
        const TensorType& t = call.in[i];
        const auto message = [&](const std::string& expected) {
            return fmt::format("[{}]{}{} input {}: expected {}, got {}", call.op.name, call.where.empty() ? "" : " ",
                               call.where, arg.name, expected, to_string(t));
        };
        if (!type_allows(arg.type, t.dtype, b))
            fail("{}", message(b.real_bound && (arg.type == "real" || arg.type == "stat")
                                   ? fmt::format("{} as {} has", name(b.real), b.real_from)
                                   : fmt::format("dtype {}", arg.type)));
        if (arg.type == "real" && !b.real_bound) {
            b.real = t.dtype;
            b.real_bound = true;
            b.real_from = arg.name;
        }
        Binding before = b;
        if (!bind_shape(arg.dims, t.shape, b)) fail("{}", message("shape " + expected_shape(arg.dims, before)));
    }
}

// Whether the inputs say the shape of an output: of an optional one, the input that belongs to it may not be there.
bool is_bound(const OpArg& arg, const Binding& b) {
    bool all = true;
    if (arg.dims != "...") for_each_dim(arg.dims, [&](std::string_view dim) { all &= size_of(dim, b).has_value(); });
    return all;
}

TensorType output_type(const OpArg& arg, const Binding& b) {
    TensorType t;
    if (arg.type == "real") t.dtype = b.real;
    else if (arg.type == "stat") t.dtype = b.real == DType::f64 ? DType::f64 : DType::f32;
    else
        for (int i = 0; i < static_cast<int>(std::size(kDTypes)); ++i)
            if (arg.type == kDTypes[i].name) t.dtype = static_cast<DType>(i);
    if (arg.dims == "...") {
        t.shape = b.any;
        return t;
    }
    for_each_dim(arg.dims, [&](std::string_view dim) { t.shape.dims[t.shape.rank++] = size_of(dim, b).value(); });
    return t;
}

}  // namespace

namespace {

Signature parse_once(const OpDef& op) {
    Signature signature;
    std::string_view rest = op.signature;
    bool after_arrow = false;
    while (!rest.empty()) {
        const size_t space = rest.find(' ');
        const std::string_view word = rest.substr(0, space);
        rest.remove_prefix(space == std::string_view::npos ? rest.size() : space + 1);
        if (word == "->") {
            after_arrow = true;
            continue;
        }
        const OpArg arg = parse_arg(word);
        if (after_arrow || arg.inout) signature.out.push_back(arg);
        if (!after_arrow) signature.in.push_back(arg);
    }
    return signature;
}

std::vector<OpArg> repeat(const std::vector<OpArg>& args, int64_t n) {
    std::vector<OpArg> all;
    for (const OpArg& arg : args) all.insert(all.end(), arg.repeated ? static_cast<size_t>(n) : 1, arg);
    return all;
}

}  // namespace

Signature parse_signature(const OpDef& op, int64_t n_in) {
    Signature once = parse_once(op);
    const int64_t n_repeated = std::ranges::count_if(once.in, &OpArg::repeated);
    if (n_repeated == 0 || n_in < 0) return once;
    const int64_t n = (n_in - (std::ssize(once.in) - n_repeated)) / n_repeated;
    return {repeat(once.in, std::max<int64_t>(n, 1)), repeat(once.out, std::max<int64_t>(n, 1))};
}

std::vector<TensorType> output_types(const OpCall& call, const Signature& signature) {
    Binding b;
    bind_inputs(call, signature, b);
    if (call.op.infer) return call.op.infer(call);
    std::vector<TensorType> types;
    for (size_t i = 0; i < signature.out.size(); ++i) {
        if (signature.out[i].optional && !is_bound(signature.out[i], b)) break;
        types.push_back(signature.out[i].inout ? call.in[i] : output_type(signature.out[i], b));
    }
    return types;
}

}  // namespace ggq
