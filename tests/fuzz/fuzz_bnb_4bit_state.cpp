// quant_state of a 4-bit weight: what is read is of the type and shape that were asked for.
#include "models/bnb_4bit_state.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::refuse_or_read([&] {
        const Bnb4bitState state = parse_bnb_4bit_state(fuzz::text_of(data, size), "state", DType::nf4, {64, 160});
        if (state.form.dtype != DType::nf4 || !is_quant_block(state.form.spec.block)) std::abort();
    });
    return 0;
}
