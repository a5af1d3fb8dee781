// ggq_base.json, which says how the base of an adapter was quantized.
#include "models/base_record.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    folder.write("ggq_base.json", fuzz::text_of(data, size));
    fuzz::refuse_or_read([&] { read_base_record(folder.path()); });
    return 0;
}
