// Model folders as bitsandbytes writes them in 4 bits, made of any model by our own quantizer.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "ggq/io/safetensors.h"
#include "models/model.h"

namespace ggq::test {

struct BnbFolder {
    QuantForm form;
    DType storage = DType::u8;  // quant_storage: in which type the bytes of codes are seen
    std::string plain;          // a module that is not quantized
};

// Writes model.safetensors and config.json. `change` may spoil the tensors before they are written.
void write_bnb_folder(const Model& model, const std::filesystem::path& to, const BnbFolder& how,
                      const std::function<void(FileTensors&)>& change = {});

class Workplace;

// A folder with tokenizer, of the small trained model.
std::filesystem::path small_bnb(const Workplace& place, const BnbFolder& how = {},
                                const std::function<void(FileTensors&)>& change = {});

}  // namespace ggq::test
