#!/usr/bin/env python3
"""family_goldens.py [OUT]: makes tests/fixtures/families again, a folder for each family of models.

Tiny models with random weights, biases and norms, run by transformers in float32 on the CPU with eager attention:
logits, the mean loss over labels, and the gradient of every weight. The form is that of the golden folders
(tests/golden.h). Needs torch and transformers 5.
"""
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SIZES = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)

# Each file says what its name says; together they have every row of models/families.cpp and every kind of RoPE that
# the larger golden folders lack.
MODELS = {
    "mistral-window": ("MistralForCausalLM", dict(sliding_window=5)),
    "qwen2-window-of-upper-layers": ("Qwen2ForCausalLM", dict(use_sliding_window=True, sliding_window=4,
                                                              max_window_layers=1)),
    "qwen3-tied-yarn": ("Qwen3ForCausalLM", dict(head_dim=12, tie_word_embeddings=True, rope_parameters=dict(
        rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16))),
    "llama-bias-yarn-weighted": ("LlamaForCausalLM", dict(head_dim=12, attention_bias=True, rope_parameters=dict(
        rope_type="yarn", rope_theta=1000.0, factor=8.0, original_max_position_embeddings=8, beta_fast=8.0,
        beta_slow=0.5, mscale=0.7, mscale_all_dim=0.4, truncate=False))),
    "llama-dynamic": ("LlamaForCausalLM", dict(rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0,
                                                                    factor=2.0))),
}
LENGTHS = [19, 8, 13]  # of the rows, padded to the first


def random_model(architecture, options):
    config_class = getattr(transformers, architecture).config_class
    config = config_class(**{**SIZES, **options}, attn_implementation="eager", use_cache=False)
    model = getattr(transformers, architecture)(config).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            centre = 1.0 if name.endswith("norm.weight") else 0.0
            weight.copy_(centre + 0.25 * torch.randn(weight.shape))
    return model


def random_batch():
    shape = (len(LENGTHS), max(LENGTHS))
    ids, mask = torch.randint(3, SIZES["vocab_size"], shape), torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, -100)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
        labels[row, 2:length] = ids[row, 2:length]
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def make(folder, architecture, options):
    torch.manual_seed(7)
    model, batch = random_model(architecture, options), random_batch()
    result = model(**batch)
    result.loss.backward()
    (folder / "model").mkdir(parents=True, exist_ok=True)
    model.config.architectures = [architecture]
    model.config.to_json_file(folder / "model/config.json", use_diff=False)
    tied = model.config.tie_word_embeddings
    weights = {n: w for n, w in model.named_parameters() if not (tied and n == "lm_head.weight")}
    save_file({n: w.detach().contiguous() for n, w in weights.items()}, folder / "model/model.safetensors")
    save_file({n: w.grad.contiguous() for n, w in weights.items()}, folder / "grads.safetensors")
    save_file({**batch, "logits": result.logits.detach().contiguous(), "loss": result.loss.detach().reshape(1)},
              folder / "forward.safetensors")
    about = dict(made_by="tests/family_goldens.py", torch=torch.__version__, transformers=transformers.__version__)
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures/families"
    for name, (architecture, options) in MODELS.items():
        make(out / name, architecture, options)
        print(name)


main()
