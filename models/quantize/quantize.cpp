#include "models/quantize/quantize.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/transfer.h"
#include "models/bnb_writer.h"
#include "models/merge/merged_weights.h"
#include "models/merge/model_folder.h"
#include "models/option_checks.h"

namespace ggq {

namespace {

std::vector<std::string> split_at_commas(const std::string& text) {
    std::vector<std::string> parts;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        if (end > begin) parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

class Quantize {
public:
    Quantize(QuantizeOptions options, const Events& events)
        : options_(std::move(options)),
          events_(events),
          cpu_(make_cpu_backend(options_.base.threads)),
          config_(read_config(options_.base.model)),
          source_(checkpoint_source(options_.base.model, config_)),
          plain_weights_(*cpu_, config_, *source_, BaseForm{}, {}),
          skip_(split_at_commas(options_.skip)) {
        events_.warn(config_.warnings);
        choose_form();
        check_skip_list();
    }

    QuantizeResult run() {
        const std::vector<WeightRow> rows = weight_rows(config_);
        std::vector<TensorGroup> groups;
        for (const WeightRow& row : rows) groups.push_back(group_of(row));
        ModelFolder folder({options_.output, options_.overwrite, memory_size("shard_size", options_.shard_size)},
                           options_.base.model, groups);
        for (const WeightRow& row : rows) {
            end_if_asked(events_.stop);
            if (is_quantized(row)) write_quantized(row, folder.weights());
            else write_plain(row, folder.weights());
        }
        folder.commit(config_text(rows));
        result_.bits_a_weight = 8.0 * static_cast<double>(n_bytes_) / static_cast<double>(result_.n_weights);
        return result_;
    }

private:
    bool in_4bit() const { return options_.as == QuantizedAs::bitsandbytes; }

    void choose_form() {
        const auto stored = source_->quantized();
        require(!stored || !in_4bit(),
                "{} is already quantized as {}; only what it restores to can be had of it (`as` dequantized)",
                options_.base.model, describe(stored.value_or(QuantForm{})));
        take_stored_form(options_.base, stored);
        require(options_.base.quant.has_value(), "`quant` none: expected a form to quantize to");
        form_ = {*options_.base.quant, options_.base.quant_spec};
    }

    void check_skip_list() const {
        const std::vector<std::string> modules = linear_modules(config_);
        for (const std::string& entry : skip_)
            require(entry == "lm_head" ||
                        std::ranges::any_of(modules, [&](const auto& m) { return is_skipped(m, {entry}); }),
                    "`skip`: no linear of this model is called {}", entry);
    }

    // Linears of layers, but for those that were asked to stay plain.
    bool is_quantized(const WeightRow& row) const {
        if (info(source_->type(row).dtype).quantized) return true;
        return !source_->quantized() && row.role == WeightRole::linear && !is_skipped(row.module(), skip_);
    }

    DType config_dtype() const { return options_.dtype.value_or(config_.dtype); }

    // In which a weight is written where it is plain.
    DType plain_dtype(const WeightRow& row) const {
        const DType stored = source_->type(row).dtype;
        return options_.dtype.value_or(info(stored).quantized ? config_.dtype : stored);
    }

    TensorGroup group_of(const WeightRow& row) const {
        if (is_quantized(row) && in_4bit()) return bnb_group(row, form_);
        return {{{row.name, {nullptr, plain_dtype(row), row.shape}}}, {}};
    }

    void write_plain(const WeightRow& row, ShardedWriter& to) {
        plain_weights_.each(row, [&](const MergedRows& rows) {
            write_floats(row, rows.first * row.shape[row.shape.rank - 1], rows.base, to);
        });
        result_.n_weights += row.shape.n_elems();
        result_.n_plain += row.shape.n_elems();
        n_bytes_ += row.shape.n_elems() * info(plain_dtype(row)).bytes;
    }

    // Elements from `first` on; returns them as they are stored.
    std::vector<float> write_floats(const WeightRow& row, int64_t first, std::span<const float> values,
                                    ShardedWriter& to) const {
        const DType dtype = plain_dtype(row);
        const int64_t bytes = info(dtype).bytes;
        std::vector<std::byte> piece(values.size() * static_cast<size_t>(bytes));
        convert_floats(*cpu_, DType::f32, values.data(), dtype, piece.data(), std::ssize(values));
        to.write(row.name, first * bytes, piece);
        std::vector<float> stored(values.size());
        convert_floats(*cpu_, dtype, piece.data(), DType::f32, stored.data(), std::ssize(values));
        return stored;
    }

    void write_quantized(const WeightRow& row, ShardedWriter& to) {
        Store store(*cpu_);
        const Buffer& weight = store.declare(row.name, Kind::constant, {form_.dtype, row.shape, form_.spec});
        store.allocate();
        source_->load(row, store, weight);
        const std::vector<float> restored = read_f32(store, weight);
        if (in_4bit()) write_bnb_weight(to, row, store, weight, plain_dtype(row));
        QuantizedWeight one{row.name};
        if (info(source_->type(row).dtype).quantized) write_restored(row, restored, to);
        else compare(row, restored, one, to);
        one.n_elems = row.shape.n_elems();
        one.n_bytes =
            in_4bit() ? storage_bytes(form_.dtype, row.shape, form_.spec) : one.n_elems * info(plain_dtype(row)).bytes;
        result_.all.add(one);
        result_.weights.push_back(std::move(one));
        result_.n_weights += row.shape.n_elems();
        n_bytes_ += result_.weights.back().n_bytes;
    }

    // What the file of weights restores to; there is nothing to compare it with.
    void write_restored(const WeightRow& row, std::span<const float> restored, ShardedWriter& to) const {
        constexpr size_t kPiece = size_t{4} << 20;
        for (size_t at = 0; at < restored.size(); at += kPiece)
            write_floats(row, static_cast<int64_t>(at), restored.subspan(at, std::min(kPiece, restored.size() - at)),
                         to);
    }

    void compare(const WeightRow& row, std::span<const float> restored, QuantizedWeight& one, ShardedWriter& to) const {
        plain_weights_.each(row, [&](const MergedRows& rows) {
            const int64_t first = rows.first * row.shape[1];
            const auto piece = restored.subspan(static_cast<size_t>(first), rows.base.size());
            if (in_4bit()) one.add(rows.base, piece);
            else one.add(rows.base, write_floats(row, first, piece, to));
        });
    }

    std::string config_text(const std::vector<WeightRow>& rows) const {
        if (!in_4bit()) return config_text_for(config_, config_dtype());
        std::vector<std::string> plain;
        for (const WeightRow& row : rows)
            if (row.role == WeightRole::linear && !is_quantized(row)) plain.push_back(row.module());
        return config_text_for(config_, config_dtype(), bnb_config_json(form_, config_dtype(), plain).dump());
    }

    QuantizeOptions options_;
    const Events& events_;
    std::unique_ptr<Backend> cpu_;
    LlamaConfig config_;
    std::unique_ptr<TensorSource> source_;
    MergedWeights plain_weights_;
    std::vector<std::string> skip_;
    QuantForm form_;
    QuantizeResult result_;
    int64_t n_bytes_ = 0;
};

}  // namespace

bool is_skipped(const std::string& module, const std::vector<std::string>& skip) {
    return std::ranges::any_of(skip, [&](const std::string& entry) {
        return module == entry || module.starts_with(entry + ".") || module.ends_with("." + entry);
    });
}

void validate(const QuantizeOptions& options) {
    validate(options.base);
    require(memory_size("shard_size", options.shard_size) > 0, "`shard_size`: expected a size above 0, got {}",
            options.shard_size);
}

QuantizeResult run_quantization(QuantizeOptions options, const Events& events) {
    validate(options);
    return Quantize(std::move(options), events).run();
}

}  // namespace ggq
