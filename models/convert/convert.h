// An adapter from one form into another. What is written is read again and compared with what was read.
#pragma once

#include <string>

#include "models/convert/adapter_form.h"
#include "models/convert/gguf_floats.h"
#include "models/events.h"

namespace ggq {

struct ConvertOptions {
    std::string adapter;
    AdapterForm to = AdapterForm::peft;
    std::string model;              // folder whose config.json is read; of an adapter of llama.cpp, or into one
    GgufType type = GgufType::f16;  // of the tensors of one
    std::string output;             // a folder; of llama.cpp's a file
    bool overwrite = false;
    bool json = false, quiet = false;
};

struct ConvertResult {
    AdapterForm from = AdapterForm::peft, to = AdapterForm::peft;
    int64_t n_modules = 0;
    double distance = 0;  // of what was written to what was read, see adapter_distance()
};

// Throws Error for what the form cannot hold, with what to do instead.
ConvertResult run_conversion(const ConvertOptions& options, const Events& events);

}  // namespace ggq
