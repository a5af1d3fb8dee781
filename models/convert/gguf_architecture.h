// What llama.cpp calls the families of models, and whether it has rows of q and k in another order
// (models/gguf_names.h).
#pragma once

#include "models/families.h"

namespace ggq {

struct GgufArchitecture {
    Family family;
    const char* name;
    bool permutes;
};

inline constexpr GgufArchitecture kGgufArchitectures[] = {
    {Family::llama, "llama", true},
    {Family::mistral, "llama", true},
    {Family::qwen2, "qwen2", false},
    {Family::qwen3, "qwen3", false},
};

constexpr const GgufArchitecture& gguf_architecture(Family family) {
    for (const GgufArchitecture& row : kGgufArchitectures)
        if (row.family == family) return row;
    return kGgufArchitectures[0];
}

}  // namespace ggq
