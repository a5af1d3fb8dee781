// A model and perhaps an adapter on it: what every program opens that uses a trained model.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/adapter_files.h"
#include "models/base_options.h"
#include "models/events.h"
#include "models/llama.h"
#include "models/model.h"

namespace ggq {

struct AdapterChoice {
    std::string path;
    double scale = 1;  // on top of alpha / r
};

// Refuses scales that are not finite.
void validate(const std::vector<AdapterChoice>& adapters);

struct AdaptedModel {
    Model model;
    std::optional<Adapter> adapter;   // what is computed beside the base; several mixed into one
    AdapterChoice choice;             // of it
    std::vector<Adapter> parts = {};  // what of each adapter that was named is
    std::vector<AdapterChoice> choices = {};
    std::vector<bool> is_whole = {};  // nothing of it is part of the base

    // Warns if the adapter was trained on another base. Reads every weight.
    void check_base(const Events& events) const;

    // Its weights and adapter as frozen tensors of `store`, held in `form`. Throws Error, by module, for an adapter
    // that does not fit the model.
    std::unique_ptr<Llama> declare(Store& store, const BaseForm& form) const;
    void load(Store& store, const Llama& llama, const StopAsked& stop = {}) const;  // once the store is allocated

    // Other scales, one an adapter, in a model that is loaded; 0 switches one off. What is in a KV cache was made with
    // the old ones. Throws Error for an adapter that is part of the base (DoRA, head, embedding, whole modules).
    void set_scales(Store& store, const Llama& llama, const std::vector<double>& scales) const;
};

// Opens the model that `options` name, and the adapters if there are any, which add up. The form of the base is the one
// that the adapter records, unless the user wished for another; what does not agree is said through `events`. No weight
// of the base is needed.
AdaptedModel open_adapted(BaseOptions& options, const std::vector<AdapterChoice>& adapters, const Events& events);

}  // namespace ggq
