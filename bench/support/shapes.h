// The products and the heads of the Llamas that are measured.
#pragma once

#include <string>
#include <vector>

#include "bench/support/harness.h"

namespace ggq::bench {

struct Linear {
    int64_t n, k;

    std::string name() const { return std::to_string(n) + "x" + std::to_string(k); }
};

// The different ones of the seven linears (q and o, k and v, gate and up, down) of 1B, 8B and 70B.
inline std::vector<Linear> linears(const Scale& scale) {
    if (!scale.on_gpu && !scale.large) return {{2048, 2048}, {4096, 4096}};
    if (!scale.on_gpu) return {{2048, 2048}, {4096, 4096}, {11008, 4096}};
    return {{2048, 2048},  {512, 2048},   {8192, 2048}, {2048, 8192}, {4096, 4096},  {1024, 4096},
            {14336, 4096}, {4096, 14336}, {8192, 8192}, {1024, 8192}, {28672, 8192}, {8192, 28672}};
}

// Printed as queries:keys x size.
struct Heads {
    int64_t queries, keys, size;

    std::string name() const {
        return std::to_string(queries) + ":" + std::to_string(keys) + "x" + std::to_string(size);
    }
};

// Of 1B, 8B and 70B.
inline std::vector<Heads> heads(const Scale& scale) {
    if (!scale.on_gpu) return {{8, 2, 64}, {8, 2, 128}};
    return {{32, 8, 64}, {32, 8, 128}, {64, 8, 128}};
}

// Hidden sizes.
inline std::vector<int64_t> widths(const Scale& scale) {
    return scale.on_gpu ? std::vector<int64_t>{2048, 4096, 8192} : std::vector<int64_t>{768, 4096};
}

}  // namespace ggq::bench
