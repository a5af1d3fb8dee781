// Blocks of GGUF's formats: decoded as the gguf package decodes them (tests/gguf_reference.py), on every instruction
// set, and by hand.
#include "kernels/packed_blocks.h"

#include <cmath>

#include "ggq/io/safetensors.h"
#include "kernels/kernels.h"
#include "tests/fixtures.h"
#include "tests/kernel_buffers.h"
#include "tests/packed_bytes.h"

using namespace ggq;
using namespace ggq::test;

namespace {

constexpr DType kPackedFormats[] = {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0,  DType::q5_1,
                                    DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl};

const SafetensorsFile& reference() {
    static const SafetensorsFile file(source_dir() / "tests/fixtures/gguf/blocks.safetensors");
    return file;
}

std::span<const float> floats(const std::string& name) {
    const FileTensor& t = reference().at(name);
    return {static_cast<const float*>(t.data), static_cast<size_t>(t.shape.n_elems())};
}

const std::byte* bytes(const std::string& name) { return static_cast<const std::byte*>(reference().at(name).data); }

std::vector<float> decoded(DType dtype, const std::vector<uint8_t>& block) {
    std::vector<float> to(static_cast<size_t>(format(dtype).packed_elems));
    decode_blocks(dtype, reinterpret_cast<const std::byte*>(block.data()), to);
    return to;
}

// The bytes of an f16.
void put_half(std::vector<uint8_t>& block, size_t at, float value) {
    const uint16_t half = half_bits(value);
    std::memcpy(&block[at], &half, 2);
}

}  // namespace

TEST_CASE("packed blocks: every format as the gguf package decodes it, to the bit") {
    for (DType dtype : kPackedFormats) {
        CAPTURE(name(dtype));
        const auto wanted = floats(name(dtype) + std::string(".values"));
        CHECK(reference().at(name(dtype) + std::string(".blocks")).n_bytes() == row_bytes(dtype, std::ssize(wanted)));
        std::vector<float> got(wanted.size());
        decode_blocks(dtype, bytes(name(dtype) + std::string(".blocks")), got);
        CHECK(std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)) == 0);
    }
}

TEST_CASE("packed blocks: the op dequantize gives the same, on every instruction set") {
    ThreadPool pool(2);
    for (DType dtype : kPackedFormats)
        for (CpuIsa isa : machine_isas()) {
            CAPTURE(name(dtype));
            const auto wanted = floats(name(dtype) + std::string(".values"));
            const Shape shape{std::ssize(wanted)};
            const GuardedBuffer blocks(storage_bytes(dtype, shape, {})), values(4 * std::ssize(wanted));
            std::memcpy(blocks.data(), bytes(name(dtype) + std::string(".blocks")),
                        static_cast<size_t>(row_bytes(dtype, std::ssize(wanted))));
            const View y = make_view(values.data(), DType::f32, shape);
            Call{cpu::dequantize, {y}, {make_view(blocks.data(), dtype, shape)}}.run(isa, pool);
            CHECK(values.guards_intact());
            CHECK(std::memcmp(values.data(), wanted.data(), wanted.size_bytes()) == 0);
        }
}

TEST_CASE("packed blocks: q4_0 and q6_k by hand") {
    std::vector<uint8_t> q4(18, 0x88);  // all codes 8: zero
    put_half(q4, 0, 0.5f);
    q4[2] = 0x1f;  // weight 0 has 15, weight 16 has 1
    const std::vector<float> w = decoded(DType::q4_0, q4);
    CHECK(w[0] == 3.5f);
    CHECK(w[16] == -3.5f);
    CHECK(w[1] == 0);

    std::vector<uint8_t> q6(210, 0);
    put_half(q6, 208, 0.25f);
    std::fill(q6.begin() + 192, q6.begin() + 208, 2);
    q6[192 + 7] = 0xff;   // weights 112 to 127: scale -1
    q6[32 + 20] = 0x90;   // lower bits of weight 96 + 20 are 9
    q6[128 + 20] = 0xc0;  // its upper ones 3
    const std::vector<float> v = decoded(DType::q6_k, q6);
    CHECK(v[0] == -16);  // (0 - 32) * 2 / 4
    CHECK(v[116] == -0.25f * (57 - 32));
    CHECK(v[117] == 8);
}

TEST_CASE("packed blocks: scales that are not finite are found, wherever they stand") {
    for (DType dtype : kPackedFormats) {
        CAPTURE(name(dtype));
        const int64_t n = 2 * format(dtype).packed_elems;
        std::vector<std::byte> blocks = packed_bytes(dtype, std::vector<double>(static_cast<size_t>(n), 0.7));
        CHECK(scales_finite(dtype, blocks.data(), n));
        for (const PackedScale& scale : kPackedScales) {
            if (scale.dtype != dtype) continue;
            std::byte& high = blocks[static_cast<size_t>(format(dtype).packed_bytes + scale.at + 1)];
            const std::byte before = std::exchange(high, std::byte{0x7c});
            CHECK(!scales_finite(dtype, blocks.data(), n));
            high = before;
        }
    }
}

TEST_CASE("packed blocks: q8_0 is encoded as the gguf package does") {
    const auto x = floats("encoded.values");
    std::vector<std::byte> got(static_cast<size_t>(row_bytes(DType::q8_0, std::ssize(x))));
    encode_q8_0(x, got.data());
    CHECK(std::memcmp(got.data(), bytes("encoded.q8_0"), got.size()) == 0);
}

TEST_CASE("packed blocks: a tensor takes its blocks and nothing else") {
    CHECK(storage_bytes(DType::q4_k, {2, 512}, {}) == 4 * 144);
    CHECK(storage_bytes(DType::q4_0, {1, 32}, {}) == 32);  // 18, rounded up to 16 bytes
    const View v = make_view(nullptr, DType::q6_k, {2, 256});
    CHECK(v.quant.block == 256);
    CHECK(v.quant.scales == nullptr);
}
