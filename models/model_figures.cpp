#include "models/model_figures.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/figures.h"

namespace ggq {

namespace {

int64_t n_trained(const Buffer* b) { return b && b->kind == Kind::parameter ? b->type.shape.n_elems() : 0; }

int64_t n_trained_of(const LlamaLayer& layer) {
    int64_t n = n_trained(layer.input_norm) + n_trained(layer.post_attention_norm);
    for (const Linear* l : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
        n += n_trained(l->weight) + n_trained(l->a) + n_trained(l->b);
    return n;
}

void count_quantized(const Buffer& weight, ModelFigures& figures) {
    const TensorType& type = weight.type;
    if (!info(type.dtype).quantized) return;
    figures.n_quantized += type.shape.n_elems();
    figures.quantized_bytes += type.bytes();
    const QuantLayout layout = quant_layout(type.dtype, type.shape, type.quant);
    constexpr int64_t kScale = sizeof(float);
    if (layout.n_nested > 0) figures.double_quant_saves += (kScale - 1) * layout.n_scales - kScale * layout.n_nested;
}

// "1,310,720 in each of 32 layers", of layers that differ "from 0 to 1,310,720 a layer".
std::string by_layer(const std::vector<int64_t>& n_of_layers) {
    const auto [least, most] = std::ranges::minmax_element(n_of_layers);
    if (*least == *most) return fmt::format("{} in each of {} layers", thousands(*most), n_of_layers.size());
    return fmt::format("from {} to {} a layer", thousands(*least), thousands(*most));
}

// In powers of ten, as sizes of files are told.
std::string decimal_size(int64_t n_bytes) {
    const auto amount = static_cast<double>(n_bytes);
    return amount < 1e6 ? fmt::format("{:.1f} kB", amount / 1e3) : fmt::format("{:.1f} MB", amount / 1e6);
}

}  // namespace

double ModelFigures::bits_a_quantized_weight() const {
    return n_quantized == 0 ? 0 : 8 * static_cast<double>(quantized_bytes) / static_cast<double>(n_quantized);
}

ModelFigures figures_of(const Llama& llama) {
    ModelFigures figures;
    for (const auto& [name, weight] : llama.weights) {
        figures.n_parameters += weight->type.shape.n_elems();
        figures.n_trained += n_trained(weight);
        count_quantized(*weight, figures);
    }
    for (const Linear* l : llama.adapted) {
        figures.n_parameters += l->a->type.shape.n_elems() + l->b->type.shape.n_elems();
        figures.n_trained += n_trained(l->a) + n_trained(l->b);
    }
    for (const LlamaLayer& layer : llama.layers) figures.n_trained_of_layers.push_back(n_trained_of(layer));
    return figures;
}

std::vector<std::string> figure_lines(const ModelFigures& f) {
    std::vector<std::string> lines;
    if (f.n_trained > 0)
        lines.push_back(fmt::format("trained parameters: {} of {}, {:.2f} %; {}", thousands(f.n_trained),
                                    thousands(f.n_parameters), percent(f.n_trained, f.n_parameters),
                                    by_layer(f.n_trained_of_layers)));
    if (f.n_quantized > 0)
        lines.push_back(
            fmt::format("quantized weights: {} of {:.3f} bits", thousands(f.n_quantized), f.bits_a_quantized_weight()));
    if (f.double_quant_saves > 0) lines.back() += "; double quantization saves " + decimal_size(f.double_quant_saves);
    return lines;
}

}  // namespace ggq
