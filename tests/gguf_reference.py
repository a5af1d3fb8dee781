"""Blocks of GGUF's types and what the gguf package makes of them, for tests/test_packed_blocks.cpp.

    python3 tests/gguf_reference.py tests/fixtures/gguf/blocks.safetensors      (needs numpy and gguf)

Random codes with scales from 2^-20 (a subnormal f16) on, two blocks of each type or so; and floats with their Q8_0.
"""

import json
import struct
import sys

import gguf
import numpy as np

HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "IQ4_NL": [0]}


def blocks_of(name, rng):
    elems, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    n_blocks = 2 if elems == 256 else 6
    blocks = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    for at in HALVES[name]:
        scales = (rng.choice([-1, 1], n_blocks) * 2.0 ** rng.uniform(-8, 1, n_blocks)).astype(np.float16)
        scales[0] = np.float16(2.0**-20)
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(n_blocks, 2)
    return blocks.reshape(-1)


def save(path, tensors):
    names = sorted(tensors, key=lambda name: (tensors[name].dtype != np.float32, name))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        t = tensors[name]
        header[name] = {"dtype": "F32" if t.dtype == np.float32 else "U8", "shape": list(t.shape),
                        "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(tensors[name].tobytes() for name in names))


def main():
    rng = np.random.default_rng(7)
    tensors = {}
    for name in HALVES:
        blocks = blocks_of(name, rng)
        tensors[name.lower() + ".blocks"] = blocks
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
        tensors[name.lower() + ".values"] = values.astype(np.float32)
    x = rng.normal(0, 1, 32 * 8).astype(np.float32)
    x[:32] = 0
    x[32:64] = np.arange(32, dtype=np.float32) * 0.5 - 8  # ties between codes
    tensors["encoded.values"] = x
    tensors["encoded.q8_0"] = gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0).reshape(-1)
    save(sys.argv[1], tensors)


main()
