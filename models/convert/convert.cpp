#include "models/convert/convert.h"

#include <optional>

#include "ggq/error.h"
#include "ggq/io/atomic_folder.h"
#include "ggq/io/output_folder.h"
#include "ggq/io/write_aside.h"
#include "models/convert/gguf_adapter.h"
#include "models/convert/mlx_adapter.h"
#include "models/gguf_source.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

// How far an element may be, relative to the largest one of its tensor.
double rounding_of(const ConvertOptions& o) {
    if (o.to != AdapterForm::gguf || o.type == GgufType::f32) return 1e-6;  // of scales that are multiplied into B
    return o.type == GgufType::f16 ? 1e-3 : 8e-3;
}

void check(const ConvertOptions& o, const Adapter& adapter, const Adapter& written, double& distance) {
    distance = adapter_distance(adapter, written);
    require(distance <= rounding_of(o),
            "{}: read again, what was written differs by {:.3g} of an element; nothing is kept", o.output, distance);
}

void write_folder(const ConvertOptions& o, const Adapter& adapter, const LlamaConfig* base, double& distance) {
    const OutputFolder lock(o.output, o.overwrite);
    AtomicFolder folder(o.output, IfFolderExists::merge, kAdapterConfigFile);
    if (o.to == AdapterForm::mlx) write_mlx_adapter(folder.staging(), adapter);
    else write_adapter(folder.staging(), adapter.config, adapter.modules, adapter.base, adapter.whole);
    if (is_folder(o.adapter)) copy_tokenizer_files(o.adapter, folder.staging());
    check(o, adapter, open_adapter(folder.staging(), base), distance);
    folder.commit();
}

// Written aside, since it is a single file that is compared before it appears.
void write_file_of(const ConvertOptions& o, const Adapter& adapter, const LlamaConfig* base, double& distance) {
    require(base != nullptr, "`model`: an adapter of llama.cpp cannot be written without the model that it is for");
    require(o.overwrite || !is_there(o.output), "{}: is there already; allow it with `overwrite`", o.output);
    const fs::path aside = o.output + ".check";
    struct Removed {
        ~Removed() {
            std::error_code ignored;
            fs::remove(path, ignored);
        }
        const fs::path& path;
    } const removed{aside};
    write_gguf_adapter(aside, adapter, *base, o.type);
    check(o, adapter, open_adapter(aside, base), distance);
    rename_or_fail(aside, o.output);
}

}  // namespace

ConvertResult run_conversion(const ConvertOptions& options, const Events& events) {
    std::error_code error;
    require(!fs::equivalent(options.adapter, options.output, error),
            "the output {} is the adapter that is read; choose another one", options.output);
    std::optional<LlamaConfig> base;
    if (!options.model.empty())
        base = is_gguf(options.model) ? read_gguf_config(GgufFile(options.model)) : read_config(options.model);
    const LlamaConfig* config = base ? &*base : nullptr;
    const Adapter adapter = open_adapter(options.adapter, config, events.stop);
    ConvertResult result{form_of_adapter(options.adapter), options.to, std::ssize(adapter.modules), 0};
    if (options.to == AdapterForm::gguf) write_file_of(options, adapter, config, result.distance);
    else write_folder(options, adapter, config, result.distance);
    return result;
}

}  // namespace ggq
