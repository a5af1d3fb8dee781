// trainer_state.json of a checkpoint.
#include "models/train/trainer_state.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    folder.write("trainer_state.json", fuzz::text_of(data, size));
    fuzz::refuse_or_read([&] { read_trainer_state(folder.path()); });
    return 0;
}
