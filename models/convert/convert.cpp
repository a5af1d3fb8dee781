#include "models/convert/convert.h"

#include "ggq/error.h"
#include "ggq/io/atomic_folder.h"
#include "ggq/io/output_folder.h"
#include "models/convert/mlx_adapter.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr double kRounding = 1e-6;  // of scales that are multiplied into float32

void write_form(const fs::path& folder, const Adapter& adapter, AdapterForm to) {
    if (to == AdapterForm::mlx) write_mlx_adapter(folder, adapter);
    else write_adapter(folder, adapter.config, adapter.modules, adapter.base, adapter.whole);
}

}  // namespace

ConvertResult run_conversion(const ConvertOptions& options, const Events& events) {
    const fs::path from = options.adapter;
    const Adapter adapter = open_adapter(from, events.stop);
    std::error_code error;
    require(!fs::equivalent(from, options.output, error),
            "the output {} is the adapter that is read; choose another one", options.output);
    const OutputFolder lock(options.output, options.overwrite);
    AtomicFolder folder(options.output, IfFolderExists::merge, kAdapterConfigFile);
    write_form(folder.staging(), adapter, options.to);
    if (is_folder(from)) copy_tokenizer_files(from, folder.staging());
    const double distance = adapter_distance(adapter, open_adapter(folder.staging()));
    require(distance <= kRounding, "{}: read again, what was written differs by {:.3g} of an element; nothing is kept",
            options.output, distance);
    folder.commit();
    return {form_of_adapter(from), options.to, std::ssize(adapter.modules), distance};
}

}  // namespace ggq
