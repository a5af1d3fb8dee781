// Inputs of op cases: types and reproducible values. Values are exact in float, so that a float and a double graph
// start from the same numbers. Random ones are drawn when a case is complete: its name and the input's place in it
// decide them, and no other case does.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "ggq/tensor.h"

namespace ggq::test {

struct CaseInput {
    TensorType type;
    std::vector<double> values = {};  // of a quantized or 16-bit tensor: before it is rounded
    Kind kind = Kind::input;
    bool real = false;      // takes the run's computing type
    bool gradient = false;  // a gradient is wanted
    bool stat = false;      // a real that is f32 where the computing type has 16 bits

    // Makes the values; may look at inputs that come before it in the case.
    std::function<std::vector<double>(std::mt19937_64& engine, const std::vector<CaseInput>& inputs)> draw = nullptr;
};

// Draws all values that are not given.
void draw_values(const std::string& case_name, std::vector<CaseInput>& inputs);
CaseInput drawn(const std::string& name, CaseInput in);  // a single one

CaseInput normal(const Shape& shape, double deviation = 1);  // real, with gradient
CaseInput positive(const Shape& shape);                      // real, in [0.1, 1)
CaseInput real(const Shape& shape, std::vector<double> values);
CaseInput sixty_fourths(const Shape& shape);  // real, with gradient; multiples of 1/64 in [-2, 2], exact in any type
CaseInput ints(DType dtype, const Shape& shape, const std::vector<int64_t>& values);
CaseInput below(DType dtype, const Shape& shape, int64_t limit);  // random integers in [0, limit)
CaseInput rng(int64_t seed = 11, int64_t counter = 3);

// Labels below `limit`, every `ignored`-th one kIgnoredLabel (0: none of them).
CaseInput labels(int64_t n, int64_t limit, int ignored);

// Causal spans of documents that lie end to end.
CaseInput documents(const std::vector<int64_t>& lengths);

// Made of input `at` of the same case.
CaseInput real_of(size_t at, const Shape& shape, std::function<std::vector<double>(const CaseInput& in)> make);

// 0 where spans let query t see key s, else a large negative number: [T,S].
CaseInput mask_of(const CaseInput& spans, int64_t n_keys);

CaseInput frozen(CaseInput in);                                  // the same without a gradient
CaseInput kept_as(CaseInput in, DType dtype, QuantSpec q = {});  // frozen and stored in that dtype
CaseInput state(CaseInput in);                                   // frozen and writable in place
CaseInput stat(CaseInput in);                                    // the same, a stat

// A real input with its values rounded to a float dtype; others as they are.
CaseInput rounded(CaseInput in, DType dtype);

// The bytes of an input as stored; 16-bit and quantized ones are rounded by the ops cast and quantize.
std::vector<std::byte> stored(const CaseInput& in, const TensorType& type);

// The other way, for dtypes that are not quantized.
std::vector<double> to_doubles(DType dtype, const std::vector<std::byte>& bytes);

}  // namespace ggq::test
