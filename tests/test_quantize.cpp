// Quantization on every instruction set: the tables against bitsandbytes' literals, every file of the quant kind in the
// fixtures (a folder whose about.json lists cases with a quant_type), and what the goldens do not hold.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ggq/io/safetensors.h"
#include "kernels/code_maps.h"
#include "kernels/cpu/workspace.h"
#include "kernels/kernels.h"
#include "tests/fixtures.h"
#include "tests/kernel_buffers.h"

using namespace ggq;
using namespace ggq::test;
namespace fs = std::filesystem;

namespace {

ThreadPool& pool() {
    static ThreadPool threads(2);
    return threads;
}

// A quantized tensor and what quantizing x gives.
struct Quantized {
    DType dtype;
    QuantSpec spec;
    GuardedBuffer buffer;
    View view;
    QuantLayout at;

    Quantized(DType type, const Shape& shape, QuantSpec how)
        : dtype(type),
          spec(how),
          buffer(storage_bytes(type, shape, how)),
          view(make_view(buffer.data(), type, shape, how)),
          at(quant_layout(type, shape, how)) {}

    template <typename T>
    T* part(int64_t offset) const {
        return reinterpret_cast<T*>(buffer.data() + offset);
    }
    void set(int64_t offset, const FileTensor& from) const {
        std::memcpy(part<std::byte>(offset), from.data, static_cast<size_t>(from.n_bytes()));
    }
    void quantize(const View& x, CpuIsa isa) const {
        const int64_t workspace = cpu::quantize_workspace(dtype, x.n_elems(), spec.block, spec.double_quant);
        Call{cpu::quantize, {view}, {x}, {}, workspace}.run(isa, pool());
        CHECK(buffer.guards_intact());
    }
    int code(int64_t i) const {
        const uint8_t byte = view.quant.codes[i / 2];
        return i % 2 == 0 ? byte >> 4 : byte & 15;
    }
};

Matrix floats(const std::vector<float>& values) {
    Matrix x(DType::f32, 1, static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), x.view.as<float>());
    return x;
}

std::vector<int> codes_of(DType dtype, const std::vector<float>& values, CpuIsa isa) {
    const Quantized q(dtype, {static_cast<int64_t>(values.size())}, {64, false});
    q.quantize(floats(values).view, isa);
    std::vector<int> codes;
    for (int64_t i = 0; i < 2 * q.at.codes_bytes; ++i) codes.push_back(q.code(i));
    return codes;
}

}  // namespace

TEST_CASE("NF4's thresholds are the midpoints of its levels, to the nearest float on either side of a tie") {
    for (size_t i = 0; i < 15; ++i) {
        const double midpoint = (static_cast<double>(kNf4Levels[i]) + static_cast<double>(kNf4Levels[i + 1])) / 2;
        const double ulp = std::nextafter(std::abs(kNf4Thresholds[i]), 2.0f) - std::abs(kNf4Thresholds[i]);
        CHECK(std::abs(static_cast<double>(kNf4Thresholds[i]) - midpoint) <= ulp / 2);
    }
}

TEST_CASE("a value on a threshold takes the lower code, the next float above it the upper one") {
    for (CpuIsa isa : machine_isas()) {
        std::vector<float> values = {1.0f};  // absmax 1, so that values are compared as they are
        for (float t : kNf4Thresholds) values.insert(values.end(), {t, std::nextafter(t, 2.0f)});
        const std::vector<int> nf4 = codes_of(DType::nf4, values, isa);
        for (int i = 0; i < 15; ++i) {
            CHECK(nf4[static_cast<size_t>(1 + 2 * i)] == i);
            CHECK(nf4[static_cast<size_t>(2 + 2 * i)] == i + 1);
        }
        values = {1.0f};
        for (float t : kFp4Thresholds)
            values.insert(values.end(), {t, std::nextafter(t, 2.0f), -t, -std::nextafter(t, 2.0f)});
        const std::vector<int> fp4 = codes_of(DType::fp4, values, isa);
        for (size_t i = 0; i < 7; ++i)
            for (size_t side = 0; side < 2; ++side) {
                CHECK(fp4[1 + 4 * i + side] == kFp4CodeOfInterval[i + side]);
                CHECK(fp4[3 + 4 * i + side] == (8 | kFp4CodeOfInterval[i + side]));
            }
    }
}

TEST_CASE("odd counts, zero blocks and signed zeros") {
    for (CpuIsa isa : machine_isas()) {
        CHECK(codes_of(DType::nf4, {1, -1, 0.5f}, isa) == std::vector<int>{15, 0, 12, 7});
        CHECK(codes_of(DType::fp4, {1, -1, 0.5f}, isa) == std::vector<int>{3, 11, 5, 0});
        CHECK(codes_of(DType::nf4, {0, -0.0f, 0, 0}, isa) == std::vector<int>{0, 0, 0, 0});
        CHECK(codes_of(DType::fp4, {1, -0.0f, 0, -1e-9f}, isa) == std::vector<int>{3, 0, 0, 8});
        CHECK(codes_of(DType::nf4, {1, -0.0f, 0, 0}, isa) == std::vector<int>{15, 7, 7, 7});
    }
}

TEST_CASE("zero tensors restore to zero, and infinities and NaN do no harm") {
    constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
    for (CpuIsa isa : machine_isas())
        for (DType dtype : {DType::nf4, DType::fp4, DType::int8})
            for (bool double_quant : {false, true}) {
                const Quantized q(dtype, {3, 50}, {64, double_quant});
                Matrix x(DType::f32, 3, 50), y(DType::f32, 3, 50);
                std::fill_n(x.view.as<float>(), 150, 0.0f);
                q.quantize(x.view, isa);
                Call{cpu::dequantize, {y.view}, {q.view}}.run(isa, pool());
                CHECK(values(y.view) == std::vector<double>(150, 0.0));
                const float bad[] = {kInf, -kInf, kNan, 1.0f};
                for (int i = 0; i < 150; ++i) x.view.as<float>()[i] = bad[i % 4];
                q.quantize(x.view, isa);
                Call{cpu::dequantize, {y.view}, {q.view}}.run(isa, pool());
                CHECK(y.buffer.guards_intact());
            }
}

TEST_CASE("int8 rounds half to even of x * (127 / absmax) in each row") {
    for (CpuIsa isa : machine_isas()) {
        const Quantized q(DType::int8, {2, 6}, {});
        Matrix x = floats({127, 0.5f, 1.5f, -2.5f, -127, 3.49f, 254, 1, 3, -5, 0, -254});
        x.view.shape = {2, 6};
        q.quantize(x.view, isa);
        const int wanted[] = {127, 0, 2, -2, -127, 3, 127, 0, 2, -2, 0, -127};
        for (int i = 0; i < 12; ++i) CHECK(q.part<int8_t>(0)[i] == wanted[i]);
        CHECK(q.view.quant.scales[0] == 127);
        CHECK(q.view.quant.scales[1] == 254);
        const Matrix y(DType::f32, 2, 6);
        Call{cpu::dequantize, {y.view}, {q.view}}.run(isa, pool());
        for (int i = 0; i < 12; ++i)
            CHECK(get(y.view, i) == static_cast<float>(wanted[i]) * (i < 6 ? 1.0f : 254.0f / 127.0f));
    }
}

TEST_CASE("double quantization: the mean of many scales, nearest codes, two roundings, the same bytes everywhere") {
    constexpr int64_t kN = 64 * 9001;  // scales for three chunks of the mean
    Matrix x(DType::f32, 1, kN);
    std::minstd_rand engine(5);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kN; ++i) x.view.as<float>()[i] = normal(engine);
    const Quantized single(DType::nf4, {kN}, {64, false}), first(DType::nf4, {kN}, {64, true});
    single.quantize(x.view, CpuIsa::portable);
    first.quantize(x.view, CpuIsa::portable);
    double sum = 0;
    for (int64_t i = 0; i < 9001; ++i) sum += static_cast<double>(single.view.quant.scales[i]);
    CHECK(*first.view.quant.offset == doctest::Approx(sum / 9001).epsilon(1e-7));
    const QuantParts& q = first.view.quant;
    int n_far = 0;
    for (int64_t i = 0; i < 9001; ++i) {
        const float scaled = (single.view.quant.scales[i] - *q.offset) / q.nested[i / 256];
        const float taken = std::fabs(kSignedMap[q.scale_codes[i]] - scaled);
        for (float entry : kSignedMap) n_far += taken > std::fabs(entry - scaled) + 1e-6f;
    }
    CHECK(n_far == 0);
    for (CpuIsa isa : machine_isas()) {
        const Quantized again(DType::nf4, {kN}, {64, true});
        again.quantize(x.view, isa);
        CHECK(std::memcmp(again.buffer.data(), first.buffer.data(), static_cast<size_t>(first.at.offset_at + 4)) == 0);
    }
}

namespace {

struct Golden {
    fs::path file;
    DType dtype;
    QuantSpec spec;
};

std::vector<Golden> golden_cases() {
    std::vector<Golden> all;
    const auto root = fixtures();
    if (!root || !fs::is_directory(*root / "golden")) return all;
    for (const auto& folder : fs::directory_iterator(*root / "golden")) {
        std::ifstream stream(folder.path() / "about.json");
        const auto about = nlohmann::json::parse(stream, nullptr, false);
        if (!about.is_object() || !about.contains("cases")) continue;
        for (const auto& c : about["cases"])
            if (c.contains("quant_type"))
                all.push_back({folder.path() / c["file"],
                               c["quant_type"] == "fp4" ? DType::fp4 : DType::nf4,
                               {c["blocksize"].get<int>(), c["double_quant"].get<bool>()}});
    }
    std::erase_if(all, [](const Golden& g) { return !fs::exists(g.file); });
    return all;
}

bool near_fp4_threshold(float magnitude) {
    for (float t : kFp4Thresholds) {
        const float below = std::nextafter(std::nextafter(t, 0.0f), 0.0f);
        const float above = std::nextafter(std::nextafter(t, 2.0f), 2.0f);
        if (magnitude >= below && magnitude <= above) return true;
    }
    return false;
}

// Elements whose code differs from the golden although it may not; those that may are added to n_ties.
int wrong_codes(const Quantized& q, const uint8_t* golden, const View& x, int& n_ties) {
    const Matrix plain(DType::f32, 1, x.n_elems());
    for (int64_t i = 0; i < x.n_elems(); ++i) {
        uint32_t bits = x.dtype == DType::bf16 ? static_cast<uint32_t>(x.as<bf16>()[i].bits) << 16 : 0;
        std::memcpy(plain.view.as<float>() + i, &bits, 4);
    }
    const Quantized scales(q.dtype, {x.n_elems()}, {q.spec.block, false});
    scales.quantize(x, CpuIsa::portable);
    int n_wrong = 0;
    for (int64_t i = 0; i < x.n_elems(); ++i) {
        const int wanted = i % 2 == 0 ? golden[i / 2] >> 4 : golden[i / 2] & 15;
        if (q.code(i) == wanted) continue;
        const float value = x.dtype == DType::f32 ? x.as<float>()[i]
                            : x.dtype == DType::bf16
                                ? plain.view.as<float>()[i]
                                : std::ldexp(static_cast<float>((x.as<f16>()[i].bits & 0x3ff) | 0x400),
                                             ((x.as<f16>()[i].bits >> 10) & 31) - 25);
        const float inverse = 1.0f / scales.view.quant.scales[i / q.spec.block];
        const bool may_differ =
            q.dtype == DType::fp4 && x.dtype != DType::f32 && near_fp4_threshold(std::fabs(value) * inverse);
        ++(may_differ ? n_ties : n_wrong);
    }
    return n_wrong;
}

void check_anew(const Golden& g, const SafetensorsFile& file, CpuIsa isa, int& n_ties) {
    const FileTensor& x = file.at("x");
    const View x_view = make_view(const_cast<void*>(x.data), x.dtype, x.shape);
    const Quantized q(g.dtype, x.shape, g.spec);
    q.quantize(x_view, isa);
    CHECK(wrong_codes(q, static_cast<const uint8_t*>(file.at("codes").data), x_view, n_ties) == 0);
    const void* absmax = file.at("absmax").data;
    if (!g.spec.double_quant) {
        CHECK(std::memcmp(q.view.quant.scales, absmax, static_cast<size_t>(4 * q.at.n_scales)) == 0);
        return;
    }
    int worst = 0;
    for (int64_t i = 0; i < q.at.n_scales; ++i)
        worst = std::max(worst, std::abs(q.view.quant.scale_codes[i] - static_cast<const uint8_t*>(absmax)[i]));
    CHECK(worst <= 1);
    CHECK(*q.view.quant.offset == doctest::Approx(*static_cast<const float*>(file.at("offset").data)).epsilon(1e-6));
}

// Restored values with the golden's codes and scales, bit for bit.
void check_restored(const Golden& g, const SafetensorsFile& file, CpuIsa isa) {
    const FileTensor& y = file.at("y");
    const Quantized q(g.dtype, y.shape, g.spec);
    q.set(0, file.at("codes"));
    q.set(q.at.scales_at, file.at("absmax"));
    if (g.spec.double_quant) {
        q.set(q.at.nested_at, file.at("nested_absmax"));
        q.set(q.at.offset_at, file.at("offset"));
    }
    const GuardedBuffer restored(y.n_bytes());
    Call{cpu::dequantize, {make_view(restored.data(), y.dtype, y.shape)}, {q.view}}.run(isa, pool());
    CHECK(std::memcmp(restored.data(), y.data, static_cast<size_t>(y.n_bytes())) == 0);
    CHECK(restored.guards_intact());
}

}  // namespace

TEST_CASE("codes, scales and restored values are bitsandbytes'") {
    const std::vector<Golden> cases = golden_cases();
    if (cases.empty()) return skipped("no folder of golden/ has quantized tensors");
    int n_ties = 0;
    for (const Golden& g : cases) {
        CAPTURE(g.file.string());
        const SafetensorsFile file(g.file);
        const FileTensor& table = file.at("code");
        CHECK(std::equal(format(g.dtype).levels->begin(), format(g.dtype).levels->end(),
                         static_cast<const float*>(table.data)));
        if (g.spec.double_quant) CHECK(std::memcmp(file.at("nested_code").data, kSignedMap.data(), 1024) == 0);
        for (CpuIsa isa : machine_isas()) {
            CAPTURE(name(isa));
            check_anew(g, file, isa, n_ties);
            check_restored(g, file, isa);
        }
    }
    MESSAGE(cases.size(), " files; FP4 codes beside a threshold that went to the other neighbour: ", n_ties);
}
