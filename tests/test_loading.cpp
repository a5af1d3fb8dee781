// Loading weights: streamed from the files to what they become, with no more of them in memory than a piece or, where
// it is quantized, one tensor.
#include <doctest/doctest.h>
#include <malloc.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/transfer.h"
#include "models/llama.h"
#include "models/model.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/lagging_backend.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = 1 << 20;

// bf16 of many magnitudes and both signs.
std::vector<uint16_t> some_bf16(int64_t n) {
    std::vector<uint16_t> values(static_cast<size_t>(n));
    for (size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<uint16_t>((i % 3 ? 0x3c00 : 0xbc00) + i * 2654435761u % 0x300);
    return values;
}

struct Written {
    std::vector<std::byte> bytes;
    int64_t largest_read = 0, device_peak = 0, host_peak = 0;
};

// What a buffer of `type` on a card of so much memory holds, once values were written to it by `write`.
Written written(const TensorType& type, int64_t most_bytes, bool reads_host,
                const std::function<void(Store&, const Buffer&, Written&)>& write) {
    LaggingBackend backend(LaggingBackend::Order::random, 1, most_bytes);
    backend.reads_host = reads_host;
    Store store(backend);
    const Buffer& to = store.declare("w", Kind::constant, type);
    store.allocate();
    Written w;
    write(store, to, w);
    w.bytes.resize(static_cast<size_t>(to.bytes()));
    store.read(to, w.bytes.data());
    w.device_peak = backend.memory().peak_bytes;
    w.host_peak = backend.host_memory().peak_bytes;
    return w;
}

void stream(Store& store, const Buffer& to, const std::vector<uint16_t>& values, Written& w) {
    write_streamed(store, to, DType::bf16, [&](uint64_t at, std::span<std::byte> part) {
        w.largest_read = std::max<int64_t>(w.largest_read, std::ssize(part));
        std::memcpy(part.data(), reinterpret_cast<const std::byte*>(values.data()) + at, part.size());
    });
}

// A figure of this process by its name in /proc/self/status.
int64_t memory_of_process(const std::string& name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
    return -1;
}

// From here on VmHWM is the most since now. False where the kernel does not let us.
bool start_counting_peak() {
    malloc_trim(0);
    return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5" << std::flush);
}

// A shard with room for the tensors and, as a file with a hole reads, zeros in it.
void write_shard(const fs::path& path, const std::vector<WeightRow>& rows) {
    nlohmann::ordered_json header;
    int64_t end = 0;
    for (const WeightRow& row : rows) {
        const int64_t begin = std::exchange(end, end + 2 * row.shape.n_elems());
        header[row.name] = {{"dtype", "BF16"},
                            {"shape", std::vector(row.shape.dims, row.shape.dims + row.shape.rank)},
                            {"data_offsets", {begin, end}}};
    }
    const std::string text = header.dump();
    const uint64_t length = text.size();
    write_text(path, std::string(reinterpret_cast<const char*>(&length), sizeof length) + text);
    fs::resize_file(path, sizeof length + length + static_cast<uint64_t>(end));
}

// A Llama of 182 million weights in four shards: 364 MB in bf16, 34 MB the largest tensor.
class LargeCheckpoint {
public:
    LargeCheckpoint() {
        nlohmann::json c = read_json(small_model() / "config.json");
        c["hidden_size"] = 2048;
        c["intermediate_size"] = 8192;
        c["num_hidden_layers"] = 3;
        c["num_attention_heads"] = 32;
        c["num_key_value_heads"] = 8;
        c["head_dim"] = 64;
        write_text(folder() / "config.json", c.dump());
        fs::copy_file(small_model() / "tokenizer.json", folder() / "tokenizer.json");
        write_shards(weight_rows(read_config(folder())));
    }

    const fs::path& folder() const { return dir_.path(); }
    int64_t file_bytes() const { return file_bytes_; }

private:
    void write_shards(const std::vector<WeightRow>& rows) {
        constexpr size_t kShards = 4;
        nlohmann::json weight_map;
        for (size_t s = 0; s < kShards; ++s) {
            const std::string file = fmt::format("model-{}-of-{}.safetensors", s + 1, kShards);
            const auto begin = static_cast<std::ptrdiff_t>(s * rows.size() / kShards),
                       end = static_cast<std::ptrdiff_t>((s + 1) * rows.size() / kShards);
            const std::vector<WeightRow> part(rows.begin() + begin, rows.begin() + end);
            for (const WeightRow& row : part) weight_map[row.name] = file;
            write_shard(folder() / file, part);
            file_bytes_ += static_cast<int64_t>(fs::file_size(folder() / file));
        }
        write_text(folder() / "model.safetensors.index.json", nlohmann::json{{"weight_map", weight_map}}.dump());
    }

    TempDir dir_;
    int64_t file_bytes_ = 0;
};

}  // namespace

TEST_CASE("a tensor that is read in pieces becomes the same bytes as one that is there") {
    const std::vector<uint16_t> values = some_bf16(3 * 1024 * 1001);  // 5.9 MiB
    const auto n_bytes = static_cast<int64_t>(2 * values.size());
    for (const QuantSpec spec : {QuantSpec{64, true}, QuantSpec{128, false}})
        for (const DType dtype : {DType::nf4, DType::fp4, DType::int8, DType::bf16, DType::f16, DType::f32}) {
            CAPTURE(dtype);
            const bool quantized = info(dtype).quantized;
            const TensorType type{dtype, {3 * 1001, 1024}, quantized ? spec : QuantSpec{}};
            const Written whole = written(type, INT64_MAX, true, [&](Store& store, const Buffer& to, Written&) {
                write_converted(store, to, DType::bf16, values.data());
            });
            for (const bool reads_host : {true, false}) {
                const Written streamed =
                    written(type, INT64_MAX, reads_host,
                            [&](Store& store, const Buffer& to, Written& w) { stream(store, to, values, w); });
                CHECK(bool(streamed.bytes == whole.bytes));
                CHECK(streamed.largest_read == (quantized && reads_host ? n_bytes : 4 * kMiB));
                CHECK(streamed.host_peak == 0);
            }
        }
}

TEST_CASE("a tensor that the device has no room for while it is quantized waits on the host, with the same result") {
    const std::vector<uint16_t> values = some_bf16(3 * 1024 * 1001);
    const auto n_bytes = static_cast<int64_t>(2 * values.size());
    const TensorType type{DType::nf4, {3 * 1001, 1024}, {}};
    const auto load = [&](Store& store, const Buffer& to, Written& w) { stream(store, to, values, w); };
    const Written roomy = written(type, INT64_MAX, false, load);
    const Written tight = written(type, 3 * kMiB, false, load);
    CHECK(bool(tight.bytes == roomy.bytes));
    CHECK(roomy.device_peak > n_bytes);
    CHECK(tight.device_peak <= 3 * kMiB);
    CHECK(tight.host_peak == n_bytes);
}

// The peak of all that is resident: no page of the files is mapped, so that what grows is our own memory. What the
// kernel keeps of the files beside it is given up for any use.
TEST_CASE("a checkpoint is loaded with no more memory than what it becomes and one tensor") {
#ifdef __SANITIZE_ADDRESS__
    return skipped("memory is counted without the sanitizer's own");
#endif
    const LargeCheckpoint checkpoint;
    const LlamaConfig config = read_config(checkpoint.folder());
    const Model model{checkpoint.folder(), config, {}, checkpoint_source(checkpoint.folder(), config), {}};
    WeightChoice choice;
    choice.quant = DType::nf4;
    const auto backend = make_cpu_backend(2);
    Store store(*backend);
    const auto llama = declare_llama(store, model, choice);
    if (!start_counting_peak()) return skipped("/proc/self/clear_refs cannot be written");
    const int64_t before = memory_of_process("VmRSS"), files_before = memory_of_process("RssFile");
    store.allocate();
    load_weights(store, *llama, *model.weights);
    const int64_t peak = memory_of_process("VmHWM") - before;
    const int64_t largest = 2 * config.intermediate_size * config.hidden_size;
    INFO("result " << store.bytes() / kMiB << " MiB, largest tensor " << largest / kMiB << " MiB, files "
                   << checkpoint.file_bytes() / kMiB << " MiB, peak " << peak / kMiB << " MiB");
    CHECK(peak >= store.bytes());
    CHECK(peak <= store.bytes() + largest + 20 * kMiB);  // less than another tensor; scales, code, stacks
    CHECK(memory_of_process("RssFile") - files_before < 12 * kMiB);
}

TEST_CASE("a model runs in less memory than half the size of its files") {
#ifdef __SANITIZE_ADDRESS__
    return skipped("memory is counted without the sanitizer's own");
#endif
    const LargeCheckpoint checkpoint;
    Limits limits;
    limits.most_memory = static_cast<uint64_t>(checkpoint.file_bytes()) / 2;
    const std::vector<std::string> args = {
        "--model", checkpoint.folder(), "--prompt", "Once",   "--max-new-tokens", "1", "--device", "cpu", "--temp",
        "0",       "--threads",         "1",        "--quiet"};
    const ProgramRun run = run_binary("generate", args, limits);
    INFO(run.err);
    CHECK(run.code == 0);
    limits.most_memory = 64 * kMiB;  // less than the weights in NF4
    CHECK(run_binary("generate", args, limits).code == 1);
}

}  // namespace ggq::test
