#!/usr/bin/env python3
"""compare_with_gguf.py EXPECTED FILE...

Reads GGUF files with the gguf package. Each FILE has the tensors of EXPECTED, whose values are F32, rounded to its own
types as the package rounds them, bit for bit. Exits with 0 if so, 1 if not, 77 where gguf is missing.
"""

import sys


def main():
    expected_path, *paths = sys.argv[1:]
    try:
        import gguf
        import numpy as np
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    expected = {t.name: t for t in gguf.GGUFReader(expected_path).tensors}
    for path in paths:
        reader = gguf.GGUFReader(path)
        names = [t.name for t in reader.tensors]
        if sorted(names) != sorted(expected):
            print(f"{path}: tensors {sorted(set(names) ^ set(expected))} are in one file only")
            return 1
        for t in reader.tensors:
            values = np.asarray(expected[t.name].data, dtype=np.float32)
            rounded = gguf.quants.quantize(values, t.tensor_type)
            if not np.array_equal(rounded.view(np.uint8).reshape(-1), t.data.view(np.uint8).reshape(-1)):
                print(f"{path}: {t.name} is not what gguf makes of it as {t.tensor_type.name}")
                return 1
        types = sorted({t.tensor_type.name for t in reader.tensors})
        print(f"{path}: {len(names)} tensors of {', '.join(types)} as gguf rounds them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
