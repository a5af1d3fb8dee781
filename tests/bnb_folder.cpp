#include "tests/bnb_folder.h"

#include <deque>
#include <nlohmann/json.hpp>

#include "ggq/backend.h"
#include "kernels/code_maps.h"
#include "models/llama.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

using nlohmann::ordered_json;

// Tensors with the memory that they point to.
class Writer {
public:
    void add(const std::string& name, DType dtype, const Shape& shape, const void* data) {
        FileTensor t{nullptr, dtype, shape};
        const auto* bytes = static_cast<const std::byte*>(data);
        t.data = memory_.emplace_back(bytes, bytes + t.n_bytes()).data();
        tensors[name] = t;
    }

    void add_4bit(const std::string& name, const Buffer& weight, DType storage) {
        const TensorType& type = weight.type;
        const QuantLayout at = quant_layout(type.dtype, type.shape, type.quant);
        const auto* data = static_cast<const std::byte*>(weight.data);
        const bool nested = type.quant.double_quant;
        const int64_t n_stored = at.codes_bytes / info(storage).bytes;
        add(name, storage, {n_stored, 1}, data);
        add(name + ".absmax", nested ? DType::u8 : DType::f32, {at.n_scales}, data + at.scales_at);
        add(name + ".quant_map", DType::f32, {16}, format(type.dtype).levels->data());
        ordered_json state = {{"quant_type", ggq::name(type.dtype)},
                              {"blocksize", type.quant.block},
                              {"dtype", "bfloat16"},
                              {"shape", {type.shape[0], type.shape[1]}}};
        if (nested) add_nested(name, at, data, state);
        const std::string text = state.dump();
        add(name + ".quant_state.bitsandbytes__" + ggq::name(type.dtype), DType::u8, {std::ssize(text)}, text.data());
    }

    FileTensors tensors;

private:
    void add_nested(const std::string& name, const QuantLayout& at, const std::byte* data, ordered_json& state) {
        add(name + ".nested_absmax", DType::f32, {at.n_nested}, data + at.nested_at);
        add(name + ".nested_quant_map", DType::f32, {256}, kSignedMap.data());
        state["nested_blocksize"] = kNestedBlock;
        state["nested_dtype"] = "float32";
        state["nested_offset"] = static_cast<double>(*reinterpret_cast<const float*>(data + at.offset_at));
    }

    std::deque<std::vector<std::byte>> memory_;
};

ordered_json quantization_config(const BnbFolder& how) {
    return {{"quant_method", "bitsandbytes"},
            {"load_in_4bit", true},
            {"load_in_8bit", false},
            {"bnb_4bit_quant_type", name(how.form.dtype)},
            {"bnb_4bit_use_double_quant", how.form.spec.double_quant},
            {"bnb_4bit_quant_storage", name(how.storage)},
            {"llm_int8_skip_modules", {how.plain}}};
}

}  // namespace

void write_bnb_folder(const Model& model, const std::filesystem::path& to, const BnbFolder& how,
                      const std::function<void(FileTensors&)>& change) {
    auto config = ordered_json::parse(config_text(model.config));
    config["quantization_config"] = quantization_config(how);
    write_text(to / "config.json", config.dump());
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    WeightChoice choice;
    choice.quant = how.form.dtype;
    choice.quant_spec = how.form.spec;
    const auto plain = declare_llama(store, model, {}), quantized = declare_llama(store, model, choice);
    store.allocate();
    load_weights(store, *plain, *model.weights);
    load_weights(store, *quantized, *model.weights);
    Writer writer;
    for (const WeightRow& row : weight_rows(model.config)) {
        const Buffer &as_read = *plain->weights.at(row.name), &in_4bit = *quantized->weights.at(row.name);
        const bool is_plain = row.role != WeightRole::linear || row.module() == how.plain;
        if (is_plain) writer.add(row.name, as_read.type.dtype, row.shape, as_read.data);
        else writer.add_4bit(row.name, in_4bit, how.storage);
    }
    if (change) change(writer.tensors);
    write_safetensors(to / "model.safetensors", writer.tensors);
}

std::filesystem::path small_bnb(const Workplace& place, const BnbFolder& how,
                                const std::function<void(FileTensors&)>& change) {
    const std::filesystem::path folder = place.copy_of_model("bnb");
    write_bnb_folder(open_model(place.model), folder, how, change);
    return folder;
}

}  // namespace ggq::test
