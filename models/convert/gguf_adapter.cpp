#include "models/convert/gguf_adapter.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "ggq/backend.h"
#include "ggq/error.h"
#include "ggq/io/gguf_output.h"
#include "ggq/io/utf8.h"
#include "ggq/tensor.h"
#include "models/convert/adapter_math.h"
#include "models/convert/gguf_architecture.h"
#include "models/convert/gguf_floats.h"
#include "models/convert/module_names.h"
#include "models/gguf_names.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWeight = ".weight";

struct Matrix {
    std::vector<float> values;
    Shape shape;
};

Matrix matrix_of(const FileTensor& t) { return {as_floats(t), t.shape}; }

Matrix transposed(const Matrix& x) {
    Matrix y{std::vector<float>(x.values.size()), {x.shape[1], x.shape[0]}};
    for (int64_t i = 0; i < x.shape[0]; ++i)
        for (int64_t j = 0; j < x.shape[1]; ++j)
            y.values[static_cast<size_t>(j * x.shape[0] + i)] = x.values[static_cast<size_t>(i * x.shape[1] + j)];
    return y;
}

// Rows as llama.cpp has them, or `back`.
Matrix permuted(const Matrix& x, int64_t head_dim, bool back) {
    Matrix y = x;
    const int64_t n = x.shape[1];
    for (int64_t row = 0; row < x.shape[0]; ++row) {
        const int64_t there = permuted_row(row, head_dim), from = back ? there : row, to = back ? row : there;
        std::copy_n(x.values.begin() + from * n, n, y.values.begin() + to * n);
    }
    return y;
}

bool moves_rows(const std::string& module, const LlamaConfig& base) {
    return is_permuted(module) && gguf_architecture(base.family).permutes;
}

void refuse_what_is_not_lora(const Adapter& adapter, const LlamaConfig& base) {
    const std::string where = adapter.file.string();
    require(!adapter.config.use_dora, "{}: DoRA is nothing that a GGUF adapter can hold; merge it into its base",
            where);
    require(adapter.whole.empty(), "{}: has {} as a whole, which a GGUF adapter cannot hold; merge it into its base",
            where, adapter.whole.empty() ? "" : adapter.whole.begin()->first);
    require(
        !base.tie_word_embeddings || !adapter.modules.contains("lm_head"),
        "{}: adapts lm_head, which is the embedding in this model, so llama.cpp has no tensor for it; merge it into "
        "its base",
        where);
}

// What the loader multiplies the first module by is its scale; those of others are made so.
float common_alpha(const Adapter& adapter) {
    const std::string& first = adapter.modules.begin()->first;
    return static_cast<float>(lora_scale(first, adapter.config) *
                              static_cast<double>(lora_rank(first, adapter.config)));
}

struct Part {
    std::string name;
    Matrix matrix;
};

std::vector<Part> parts_of(const Adapter& adapter, const LlamaConfig& base, double alpha, bool& folded) {
    std::vector<Part> parts;
    for (const auto& [module, t] : adapter.modules) {
        const auto name = gguf_name(module + kWeight);
        require(name.has_value(), "{}: llama.cpp has no tensor for {}; merge the adapter into its base",
                adapter.file.string(), module);
        Matrix a = matrix_of(t.a), b = matrix_of(t.b);
        const auto r = static_cast<double>(t.b.shape[1]);
        const auto factor = static_cast<float>(lora_scale(module, adapter.config) * r / alpha);
        if (factor != 1) {
            folded = true;
            for (float& x : b.values) x *= factor;
        }
        if (moves_rows(module, base)) b = permuted(b, base.head_dim, false);
        if (t.is_table) a = transposed(a);
        parts.push_back({*name + ".lora_a", std::move(a)});
        parts.push_back({*name + ".lora_b", std::move(b)});
    }
    return parts;
}

GgufEntries entries_of(const Adapter& adapter, const LlamaConfig& base, GgufType type, float alpha, bool folded) {
    GgufEntries e;
    e.text("general.architecture", gguf_architecture(base.family).name);
    e.text("general.type", "adapter");
    e.text("adapter.type", "lora");
    e.f32("adapter.lora.alpha", alpha);
    if (!adapter.config.base_model.empty()) {
        e.u32("general.base_model.count", 1);
        e.text("general.base_model.0.name", adapter.config.base_model);
    }
    e.u32("general.file_type", gguf_file_type(type));
    if (type == GgufType::q8_0) e.u32("general.quantization_version", 2);
    if (folded) e.flag("ggq.scale_in_b", true);
    return e;
}

// A tensor's values from the file.
Matrix read_matrix(Backend& cpu, const GgufFile& file, const std::string& name, const GgufTensor& t) {
    const bool known = std::ranges::any_of(kGgufOutputTypes, [&](const auto& row) { return row.value == t.type; });
    require(known && t.shape.rank == 2, "{}: '{}' is {} of {} dimensions; expected a matrix in F32, F16, BF16 or Q8_0",
            file.path().string(), shown(name), info(t.type).name, t.shape.rank);
    std::vector<std::byte> bytes(static_cast<size_t>(t.n_bytes()));
    file.read_part(t, 0, bytes);
    return {gguf_decoded(cpu, t.type, bytes), t.shape};
}

FileTensor kept(const Matrix& x, TensorMemory& memory) {
    const auto bytes = std::as_bytes(std::span(x.values));
    return memory.take({bytes.begin(), bytes.end()}, DType::f32, x.shape);
}

// "blk.0.attn_q.weight.lora_a" -> "model.layers.0.self_attn.q_proj" and whether it is A.
std::pair<std::string, bool> module_of(const std::string& name, const std::string& where) {
    const auto hf = hf_name(name);
    constexpr std::string_view kA = ".weight.lora_a", kB = ".weight.lora_b";
    const bool a = hf && hf->ends_with(kA), b = hf && hf->ends_with(kB);
    require(a || b, "{}: tensor '{}' is neither a lora_a nor a lora_b of a Llama's; it is not supported", where,
            shown(name));
    return {hf->substr(0, hf->size() - kA.size()), a};
}

void take_ranks(Adapter& adapter) {
    adapter.config.r = adapter.modules.begin()->second.b.shape[1];
    for (const auto& [module, t] : adapter.modules) {
        require(t.a.data && t.b.data && t.a.shape[0] == t.b.shape[1], "{}: the lora_a and lora_b of '{}' are no pair",
                adapter.file.string(), shown(module));
        if (t.b.shape[1] == adapter.config.r) continue;
        std::string pattern;
        for (char c : module) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
        adapter.config.rank_pattern.emplace_back(pattern, t.b.shape[1]);
    }
}

void check_header(const Gguf& gguf, const LlamaConfig& base) {
    const std::string architecture = gguf.text("general.architecture").value_or(""),
                      type = gguf.text("general.type").value_or(""), kind = gguf.text("adapter.type").value_or("");
    require(type == "adapter" && kind == "lora", "{}: is no LoRA adapter (general.type '{}', adapter.type '{}')",
            gguf.where, shown(type), shown(kind));
    const std::string expected = gguf_architecture(base.family).name;
    require(architecture == expected, "{}: is for the architecture '{}', the model is of '{}'", gguf.where,
            shown(architecture), expected);
    require(!gguf.has("adapter.alora.invocation_tokens"),
            "{}: is an adapter that some tokens switch on (aLoRA), which "
            "is not supported",
            gguf.where);
}

}  // namespace

Adapter read_gguf_adapter(const fs::path& path, const LlamaConfig& base) {
    const GgufFile file(path);
    const Gguf& gguf = file.content();
    check_header(gguf, base);
    const auto memory = std::make_shared<TensorMemory>();
    const auto cpu = make_cpu_backend(1);
    Adapter adapter;
    adapter.file = path;
    adapter.memory = memory;
    for (const auto& [name, t] : gguf.tensors) {
        const auto [module, is_a] = module_of(name, gguf.where);
        LoraTensors& pair = adapter.modules[module];
        pair.is_table = module == "model.embed_tokens";
        Matrix x = read_matrix(*cpu, file, name, t);
        const bool moves = !is_a && moves_rows(module, base);
        require(!moves || x.shape[0] % base.head_dim == 0, "{}: '{}' has {} rows, which are no whole heads of {}",
                gguf.where, shown(name), x.shape[0], base.head_dim);
        if (is_a && pair.is_table) x = transposed(x);
        if (moves) x = permuted(x, base.head_dim, true);
        (is_a ? pair.a : pair.b) = kept(x, *memory);
    }
    require(!adapter.modules.empty(), "{}: holds no tensor", gguf.where);
    take_ranks(adapter);
    adapter.config.alpha = gguf.number("adapter.lora.alpha").value_or(0);
    require(adapter.config.alpha > 0, "{}: adapter.lora.alpha must be above zero, got {}", gguf.where,
            adapter.config.alpha);
    adapter.config.base_model = shown(gguf.text("general.base_model.0.name").value_or(""));
    target_exactly(adapter.modules, adapter.config);
    return adapter;
}

void write_gguf_adapter(const fs::path& path, const Adapter& adapter, const LlamaConfig& base, GgufType type) {
    refuse_what_is_not_lora(adapter, base);
    const float alpha = common_alpha(adapter);
    bool folded = false;
    const std::vector<Part> parts = parts_of(adapter, base, alpha, folded);
    std::vector<NamedGgufTensor> tensors;
    for (const Part& p : parts) tensors.push_back({p.name, type_of_rows(type, p.matrix.shape[1]), p.matrix.shape});
    const auto cpu = make_cpu_backend(1);
    GgufOutput file(path, entries_of(adapter, base, type, alpha, folded), tensors);
    for (size_t i = 0; i < parts.size(); ++i)
        file.write(parts[i].name, 0, gguf_encoded(*cpu, tensors[i].type, parts[i].matrix.values));
    file.commit();
}

}  // namespace ggq
