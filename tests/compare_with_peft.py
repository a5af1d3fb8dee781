#!/usr/bin/env python3
"""compare_with_peft.py MODEL ADAPTER EXPECTED.json

Reads an adapter folder with transformers and PEFT, runs the model in float32 on the CPU over the token ids of
EXPECTED.json ({"ids": [...], "logits": [...]}), and compares the logits after the last token with those given there.
Exits with 0 if they agree to a relative L2 distance of 1e-4, 1 if not, 77 where transformers or PEFT is missing.
"""

import json
import sys


def main():
    model_path, adapter_path, expected_path = sys.argv[1:]
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    with open(expected_path) as file:
        expected = json.load(file)
    model = AutoModelForCausalLM.from_pretrained(model_path, torch_dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter_path).eval()
    with torch.no_grad():
        logits = model(torch.tensor([expected["ids"]])).logits[0, -1].double()
    ours = torch.tensor(expected["logits"], dtype=torch.float64)
    distance = ((ours - logits).norm() / logits.norm()).item()
    print(f"{len(ours)} logits after {len(expected['ids'])} tokens: relative L2 distance {distance:.2e}, at most 1e-4")
    return 0 if distance <= 1e-4 else 1


sys.exit(main())
