#include "models/gguf_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/utf8.h"
#include "ggq/transfer.h"
#include "kernels/packed_blocks.h"
#include "models/gguf_config.h"
#include "models/gguf_names.h"

namespace ggq {

namespace {

constexpr std::pair<GgufType, DType> kDTypesOf[] = {
    {GgufType::f32, DType::f32},   {GgufType::f16, DType::f16},   {GgufType::bf16, DType::bf16},
    {GgufType::q8_0, DType::q8_0}, {GgufType::q4_0, DType::q4_0}, {GgufType::q4_1, DType::q4_1},
    {GgufType::q5_0, DType::q5_0}, {GgufType::q5_1, DType::q5_1}, {GgufType::q4_k, DType::q4_k},
    {GgufType::q5_k, DType::q5_k}, {GgufType::q6_k, DType::q6_k}, {GgufType::iq4_nl, DType::iq4_nl}};

constexpr const char* kRopeFactors = "rope_freqs.weight";
constexpr int64_t kMostRopeFactors = int64_t{1} << 16;
constexpr int64_t kPieceElems = int64_t{1} << 16;  // decoded at a time; whole blocks of any type

// A weight of the file with its rows in the order of the Hugging Face layout.
class Rows {
public:
    // `head_dim`: rows are permuted by heads of so many; 0: they are not.
    Rows(const GgufFile& file, const GgufTensor& tensor, int64_t head_dim)
        : file_(file), tensor_(tensor), head_dim_(head_dim) {}

    void read(uint64_t at, std::span<std::byte> to) const {
        if (head_dim_ == 0) return file_.read_part(tensor_, at, to);
        const bool is_bias = tensor_.shape.rank == 1;
        const auto row_bytes = static_cast<uint64_t>(is_bias ? info(tensor_.type).bytes : tensor_.row_bytes());
        while (!to.empty()) {
            const auto row = static_cast<int64_t>(at / row_bytes);
            const uint64_t in_row = at % row_bytes, n = std::min<uint64_t>(to.size(), row_bytes - in_row);
            const auto stored = static_cast<uint64_t>(permuted_row(row, head_dim_));
            file_.read_part(tensor_, stored * row_bytes + in_row, to.first(n));
            at += n;
            to = to.subspan(n);
        }
    }

private:
    const GgufFile& file_;
    const GgufTensor& tensor_;
    int64_t head_dim_;
};

class GgufSource final : public TensorSource {
public:
    GgufSource(std::shared_ptr<const GgufFile> file, const LlamaConfig& config)
        : file_(std::move(file)), head_dim_(config.family == Family::llama ? config.head_dim : 0) {
        std::map<std::string, int64_t> of_types;
        std::set<std::string> known;
        for (const WeightRow& row : weight_rows(config)) {
            check(row);
            known.insert(stored_name_of(row));
            if (row.role == WeightRole::linear) ++of_types[info(tensor(row).type).name];
        }
        note_types(of_types);
        for (const auto& [name, tensor] : content().tensors)
            require(known.contains(name) || name == kRopeFactors,
                    "{}: tensor '{}' is no part of a model of this file's metadata; its effect would be lost",
                    content().where, shown(name));
    }

    TensorType type(const WeightRow& row) const override { return {dtype_of(tensor(row).type), row.shape, {}}; }
    std::optional<std::string> packed() const override { return packed_; }
    void load(const WeightRow& row, Store& store, const Buffer& to) const override {
        const DType own = type(row).dtype;
        if (!is_packed(own)) return write_streamed(store, to, own, finite(row));
        if (to.type.dtype == own) return write_parts(store, to, {.codes = finite(row), .scales = {}, .nested = {}});
        write_streamed(store, to, DType::f32, decoded(row));
    }
    bool read_part(const WeightRow& row, uint64_t at, std::span<std::byte> to) const override {
        rows(row).read(at, to);
        return true;
    }
    std::string identity(const StopAsked& stop) const override { return hash_files({file_->path()}, stop); }

private:
    const Gguf& content() const { return file_->content(); }
    static std::string stored_name_of(const WeightRow& row) { return gguf_name(row.name).value_or(row.name); }
    const GgufTensor& tensor(const WeightRow& row) const { return content().tensor(stored_name_of(row)); }
    Rows rows(const WeightRow& row) const { return {*file_, tensor(row), is_permuted(row.name) ? head_dim_ : 0}; }

    void check(const WeightRow& row) const {
        const GgufTensor* t = content().find_tensor(stored_name_of(row));
        require(t != nullptr, "{}: expected a tensor '{}' ({}), found none", content().where, stored_name_of(row),
                row.name);
        require(t->shape == row.shape, "{}: '{}': the metadata asks for shape {}, the file has {}", content().where,
                stored_name_of(row), to_string(row.shape), to_string(t->shape));
        const bool plain = row.role == WeightRole::norm || row.role == WeightRole::bias;
        require(!plain || !is_packed(dtype_of(t->type)), "{}: '{}': expected F32, F16 or BF16, got {}", content().where,
                stored_name_of(row), info(t->type).name);
    }

    void note_types(const std::map<std::string, int64_t>& counts) {
        std::string text;
        bool packed = false;
        for (const auto& [name, n] : counts) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, name);
            packed |= is_packed(dtype_of(gguf_type(name).value_or(GgufType::f32)));
        }
        if (packed) packed_ = text;
    }

    void check_finite(const WeightRow& row, std::span<const std::byte> bytes) const {
        const GgufTypeInfo& of = info(tensor(row).type);
        const int64_t n = std::ssize(bytes) / of.bytes * of.block;
        const DType dtype = dtype_of(of.type);
        require(is_packed(dtype) ? scales_finite(dtype, bytes.data(), n) : all_finite(dtype, bytes.data(), n),
                "{}: '{}' has NaN or infinite values; the file is damaged or the model diverged", content().where,
                stored_name_of(row));
    }

    // As it is in the file, in pieces that need not end with a block.
    ReadPart finite(const WeightRow& row) const {
        return [this, &row](uint64_t at, std::span<std::byte> to) {
            rows(row).read(at, to);
            const auto block = static_cast<uint64_t>(info(tensor(row).type).bytes);
            const uint64_t cut = (block - at % block) % block;  // of a block that began in the piece before
            check_split(row, at, cut, to);
            if (cut < to.size()) check_finite(row, to.subspan(cut, (to.size() - cut) / block * block));
        };
    }

    // The block that a piece begins within, read again.
    void check_split(const WeightRow& row, uint64_t at, uint64_t cut, std::span<const std::byte> piece) const {
        const auto block = static_cast<uint64_t>(info(tensor(row).type).bytes);
        if (cut == 0 || piece.empty()) return;
        std::vector<std::byte> whole(block);
        rows(row).read(at + cut - block, whole);
        check_finite(row, whole);
    }

    ReadPart decoded(const WeightRow& row) const {
        return [this, &row](uint64_t at, std::span<std::byte> to) {
            const DType own = type(row).dtype;
            const std::span values(reinterpret_cast<float*>(to.data()), to.size() / sizeof(float));
            const auto first = static_cast<int64_t>(at / sizeof(float)), n_values = std::ssize(values);
            std::vector<std::byte> blocks;
            for (int64_t i = 0; i < n_values; i += kPieceElems) {
                const int64_t n = std::min(kPieceElems, n_values - i);
                blocks.resize(static_cast<size_t>(row_bytes(own, n)));
                rows(row).read(static_cast<uint64_t>(row_bytes(own, first + i)), blocks);
                check_finite(row, blocks);
                decode_blocks(own, blocks.data(), values.subspan(static_cast<size_t>(i), static_cast<size_t>(n)));
            }
        };
    }

    std::shared_ptr<const GgufFile> file_;
    int64_t head_dim_;
    std::optional<std::string> packed_;
};

}  // namespace

DType dtype_of(GgufType type) {
    const auto found = std::ranges::find(kDTypesOf, type, &std::pair<GgufType, DType>::first);
    GGQ_ASSERT(found != std::end(kDTypesOf), info(type).name);
    return found->second;
}

std::vector<float> rope_factors(const GgufFile& file) {
    const GgufTensor* tensor = file.content().find_tensor(kRopeFactors);
    if (!tensor) return {};
    require(tensor->type == GgufType::f32 && tensor->shape.n_elems() <= kMostRopeFactors,
            "{}: '{}': expected at most {} of F32, got {} of {}", file.content().where, kRopeFactors, kMostRopeFactors,
            tensor->shape.n_elems(), info(tensor->type).name);
    std::vector<float> factors(static_cast<size_t>(tensor->shape.n_elems()));
    file.read_part(*tensor, 0, std::as_writable_bytes(std::span(factors)));
    return factors;
}

std::unique_ptr<TensorSource> gguf_source(std::shared_ptr<const GgufFile> file, const LlamaConfig& config) {
    return std::make_unique<GgufSource>(std::move(file), config);
}

LlamaConfig read_gguf_config(const GgufFile& file) { return gguf_config(file.content(), rope_factors(file)); }

}  // namespace ggq
