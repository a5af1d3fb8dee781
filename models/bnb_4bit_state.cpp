#include "models/bnb_4bit_state.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/tensor.h"

namespace ggq {

namespace {

QuantSpec read_spec(const JsonFields& fields) {
    const int64_t block = fields.count("blocksize");
    if (!is_quant_block(block)) fields.refuse("blocksize", "64, 128 or 256");
    return {static_cast<int>(block), fields.find("nested_blocksize") || fields.find("nested_offset")};
}

float read_offset(const JsonFields& fields) {
    if (fields.count("nested_blocksize") != kNestedBlock) fields.refuse("nested_blocksize", "256");
    if (fields.text_or("nested_dtype", "float32") != "float32") fields.refuse("nested_dtype", "float32");
    const nlohmann::json* value = fields.find("nested_offset");
    const double offset = value && value->is_number() ? value->get<double>() : INFINITY;
    if (std::fabs(offset) > FLT_MAX) fields.refuse("nested_offset", "a finite number");
    return static_cast<float>(offset);
}

void check_shape(const JsonFields& fields, const Shape& shape) {
    const std::vector<int32_t> dims = fields.numbers_or_none("shape", "a list of sizes");
    if (!std::equal(dims.begin(), dims.end(), shape.dims, shape.dims + shape.rank))
        fields.refuse("shape", (to_string(shape) + ", as config.json has it").c_str());
}

}  // namespace

Bnb4bitState parse_bnb_4bit_state(std::string_view text, const std::string& where, DType type, const Shape& shape) {
    const nlohmann::json content = parse_json(text, where);
    const JsonFields fields(content, where);
    if (fields.text_or("quant_type", "") != name(type)) fields.refuse("quant_type", name(type));
    Bnb4bitState state{{type, read_spec(fields)}, 0};
    check_shape(fields, shape);
    if (state.form.spec.double_quant) state.offset = read_offset(fields);
    return state;
}

}  // namespace ggq
