// A file of training data, JSON lines or an array, in whatever form its keys say, and under the name of each template.
#include "models/text/dataset.h"
#include "models/text/template.h"
#include "tests/fuzz/fuzz.h"
#include "tests/small_tokenizers.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    static const Tokenizer tokenizer = test::byte_tokenizer();
    folder.write("data.jsonl", fuzz::text_of(data, size));
    for (const char* form : {"", "alpaca-short", "text"}) {
        fuzz::refuse_or_read([&] {
            DataOptions options;
            options.records.form = form;
            options.on_long = OnLong::split;
            const Dataset set = load_dataset(folder.path() / "data.jsonl", tokenizer, 302, options);
            for (const Sample& sample : set.train)
                if (sample.n_tokens() > options.max_length || sample.n_label_tokens() == 0) std::abort();
            show_sample(set.train[0], tokenizer);
        });
    }
    return 0;
}
