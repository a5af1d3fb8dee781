#include "models/adapter_mix.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "ggq/error.h"

namespace ggq {

namespace {

// What an adapter adds to a module.
struct Part {
    const LoraTensors* tensors;
    double scale;
};
using Parts = std::map<std::string, std::vector<Part>>;  // by module

int64_t rank_of(const std::vector<Part>& parts) {
    int64_t r = 0;
    for (const Part& part : parts) r += part.tensors->a.shape[0];
    return r;
}

void check_shapes(const std::string& module, const std::vector<Part>& parts) {
    const LoraTensors& first = *parts[0].tensors;
    for (const Part& part : parts) {
        const LoraTensors& t = *part.tensors;
        require(
            t.a.shape[1] == first.a.shape[1] && t.b.shape[0] == first.b.shape[0],
            "`adapter`: {} takes {} to {} values in one adapter and {} to {} in another; they are of different models",
            module, first.a.shape[1], first.b.shape[0], t.a.shape[1], t.b.shape[0]);
    }
}

class Mixer {
public:
    explicit Mixer(Backend& cpu) : cpu_(cpu) {}

    LoraTensors mix(const std::vector<Part>& parts) {
        const int64_t r = rank_of(parts), in = parts[0].tensors->a.shape[1], out = parts[0].tensors->b.shape[0];
        std::vector<float>& a = add_values(r * in);
        std::vector<float>& b = add_values(out * r);
        int64_t row = 0;
        for (const Part& part : parts) {
            const int64_t part_r = part.tensors->a.shape[0];
            convert_floats(cpu_, part.tensors->a.dtype, part.tensors->a.data, DType::f32, &a[size(row * in)],
                           part_r * in);
            std::vector<float> columns(size(out * part_r));
            convert_floats(cpu_, part.tensors->b.dtype, part.tensors->b.data, DType::f32, columns.data(), out * part_r);
            for (int64_t o = 0; o < out; ++o)
                for (int64_t i = 0; i < part_r; ++i)
                    b[size(o * r + row + i)] = static_cast<float>(part.scale * columns[size(o * part_r + i)]);
            row += part_r;
        }
        return {{a.data(), DType::f32, {r, in}}, {b.data(), DType::f32, {out, r}}};
    }

    std::shared_ptr<const void> memory() { return memory_; }

private:
    static size_t size(int64_t n) { return static_cast<size_t>(n); }

    std::vector<float>& add_values(int64_t n) {
        return *memory_->emplace_back(std::make_unique<std::vector<float>>(size(n)));
    }

    Backend& cpu_;
    std::shared_ptr<std::vector<std::unique_ptr<std::vector<float>>>> memory_ =
        std::make_shared<std::vector<std::unique_ptr<std::vector<float>>>>();
};

// One that gives each module its rank and the scale 1.
LoraConfig config_of(const Parts& parts) {
    LoraConfig config;
    std::map<int64_t, int64_t> n_of_rank;
    for (const auto& [module, list] : parts) {
        config.target_modules.push_back(module);
        ++n_of_rank[rank_of(list)];
    }
    const auto usual = std::ranges::max_element(n_of_rank, {}, [](const auto& entry) { return entry.second; });
    config.r = usual->first;
    config.alpha = static_cast<double>(config.r);
    for (const auto& [module, list] : parts) {
        const int64_t r = rank_of(list);
        if (r == config.r) continue;
        config.rank_pattern.emplace_back(module, r);
        config.alpha_pattern.emplace_back(module, static_cast<double>(r));
    }
    return config;
}

}  // namespace

Adapter mix_adapters(const std::vector<ScaledAdapter>& adapters) {
    GGQ_ASSERT(!adapters.empty());
    Parts parts;
    for (const ScaledAdapter& one : adapters)
        for (const auto& [module, tensors] : one.adapter->modules)
            parts[module].push_back({&tensors, one.scale * lora_scale(module, one.adapter->config)});
    Adapter mixed;
    mixed.file = adapters[0].adapter->file;
    mixed.base = adapters[0].adapter->base;
    mixed.files_checked = adapters[0].adapter->files_checked;
    if (parts.empty()) return mixed;
    mixed.config = config_of(parts);
    const auto cpu = make_cpu_backend(1);
    Mixer mixer(*cpu);
    for (const auto& [module, list] : parts) {
        check_shapes(module, list);
        mixed.modules[module] = mixer.mix(list);
    }
    mixed.memory = mixer.memory();
    return mixed;
}

}  // namespace ggq
