#!/usr/bin/env python3
"""compare_with_bnb.py MODEL EXPECTED.json

Loads a folder of quantized weights with transformers and bitsandbytes, runs it over the token ids of EXPECTED.json
({"ids": [...], "logits": [...]}), and compares the logits after the last token with those given there. Exits with 0 if
they agree to a relative L2 distance of 1e-4, 1 if not or if the folder has tensors too many or too few, 77 where
transformers or bitsandbytes is missing.
"""

import json
import sys


def main():
    model_path, expected_path = sys.argv[1:]
    try:
        import bitsandbytes  # noqa: F401
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    with open(expected_path) as file:
        expected = json.load(file)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, loading = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.float32, device_map=device, output_loading_info=True
    )
    wrong = {key: list(names) for key, names in loading.items() if names and key.endswith("_keys")}
    if wrong:
        print(f"the folder does not fit: {wrong}")
        return 1
    # In eval mode bitsandbytes packs weights for AVX-512 on a CPU, in bf16, and refuses layers as narrow as a test's.
    model.train()
    with torch.no_grad():
        logits = model(torch.tensor([expected["ids"]], device=device)).logits[0, -1].double().cpu()
    ours = torch.tensor(expected["logits"], dtype=torch.float64)
    distance = ((ours - logits).norm() / logits.norm()).item()
    print(f"{len(ours)} logits after {len(expected['ids'])} tokens: relative L2 distance {distance:.2e}, at most 1e-4")
    return 0 if distance <= 1e-4 else 1


sys.exit(main())
