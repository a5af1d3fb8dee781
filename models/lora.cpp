#include "models/lora.h"

#include <cmath>
#include <set>

#include "ggq/error.h"
#include "ggq/transfer.h"
#include "models/initial_values.h"

namespace ggq {

namespace {

void check_shape(const FileTensor& t, const Buffer& wanted, const std::string& file) {
    require(t.shape == wanted.type.shape,
            "{}: {} is {} in the adapter, this model needs {}; it was trained on another one", file, wanted.name,
            to_string(t.shape), to_string(wanted.type.shape));
    require(all_finite(t.dtype, t.data, t.shape.n_elems()), "{}: {} has NaN or infinite values", file, wanted.name);
}

}  // namespace

void fill_new_adapter(Store& store, const Llama& llama, uint64_t seed) {
    for (const Linear* l : llama.adapted) {
        const Shape& a = l->a->type.shape;
        const auto bound = static_cast<float>(1 / std::sqrt(static_cast<double>(a[1])));
        write_converted(store, *l->a, DType::f32, uniform_values(a.n_elems(), bound, seed, l->a->name).data());
        const std::vector<float> zeros(static_cast<size_t>(l->b->type.shape.n_elems()), 0.0f);
        write_converted(store, *l->b, DType::f32, zeros.data());
    }
}

void check_adapter(const Llama& llama, const Adapter& adapter, const std::string& where) {
    const std::string file = adapter.file.string();
    std::set<std::string> used;
    for (const Linear* l : llama.adapted) {
        const auto found = adapter.modules.find(l->module);
        require(found != adapter.modules.end(),
                "{}: adapter_config.json names {}, but adapter_model.safetensors has no tensors for it", where,
                l->module);
        check_shape(found->second.a, *l->a, file);
        check_shape(found->second.b, *l->b, file);
        used.insert(l->module);
    }
    for (const auto& [module, tensors] : adapter.modules)
        require(
            used.contains(module),
            "{}: the adapter has tensors for {}, which this model lacks or adapter_config.json does not target; they "
            "would have no effect",
            where, module);
}

void load_adapter(Store& store, const Llama& llama, const Adapter& adapter) {
    for (const Linear* l : llama.adapted) {
        const LoraTensors& t = adapter.modules.at(l->module);
        write_converted(store, *l->a, t.a.dtype, t.a.data);
        write_converted(store, *l->b, t.b.dtype, t.b.data);
    }
}

}  // namespace ggq
