#!/usr/bin/env python3
"""The same QLoRA step by ggq and by what else is installed on this machine, in one run, beside the card's ceilings.

    python3 bench/peers.py                      # 8B, 4x2048 and 1x512, in a temporary folder of 16 GB
    python3 bench/peers.py --gguf model.gguf    # and generation by llama.cpp: llama-bench, or llama-cpp-python
    python3 bench/peers.py --output bench/results/peers-nvidia-h200.json    # and into README's file of peers

An 8B Llama of random weights in NF4 with double quantization; LoRA of rank 16 on all linears, dropout 0.05; AdamW with
8-bit state; bf16; everything recomputed in the backward pass (--no-recompute: nothing; --dropout 0). Peers: Unsloth, and PEFT with
bitsandbytes as its guides set it up. Each case runs in a process of its own, after updates to warm up and to compile;
shown are the median of the timed updates and what the driver says is taken of the card's memory at their end. The
ceilings are a large copy and a bf16 product of 8192 x 8192 x 8192, measured by each process that trains.
"""
import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

NEEDED = {
    "unsloth": ("Unsloth", ["torch", "transformers", "bitsandbytes", "unsloth"]),
    "peft": ("PEFT + bitsandbytes", ["torch", "transformers", "bitsandbytes", "peft"]),
}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA = 16, 32
VOCABULARY = 128256


def make_model(folder):
    """An 8B of random weights as a Hugging Face folder; the tokenizer only has to load."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=VOCABULARY,
        max_position_embeddings=8192,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder, max_shard_size="4GB")
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def unsloth_model(o, length):
    from unsloth import FastLanguageModel  # before transformers, which it patches
    import torch

    model, _ = FastLanguageModel.from_pretrained(
        o.model, max_seq_length=length, dtype=torch.bfloat16, load_in_4bit=True
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=o.dropout,
        target_modules=LINEARS,
        bias="none",
        use_gradient_checkpointing=False if o.no_recompute else "unsloth",
    )


def dtype_argument(dtype):
    """transformers calls it dtype since 4.56 and torch_dtype before."""
    import transformers

    version = tuple(int(n) for n in transformers.__version__.split(".")[:2])
    return {"dtype" if version >= (4, 56) else "torch_dtype": dtype}


def peft_model(o, _length):
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        o.model, quantization_config=nf4, device_map={"": 0}, **dtype_argument(torch.bfloat16)
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=not o.no_recompute)
    model.config.use_cache = False
    lora = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=o.dropout, target_modules=LINEARS, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, lora)


def best_seconds(work):
    import torch

    best = float("inf")
    for _ in range(8):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def ceilings():
    import torch

    x = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    copy = 2 * x.numel() / best_seconds(lambda: y.copy_(x))
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = 2 * 8192**3 / best_seconds(lambda: torch.matmul(a, b))
    return {"ceiling_copy_tb_s": copy * 1e-12, "ceiling_tflops": product * 1e-12}


def train(o):
    """One case of one peer, in this process; prints a line of JSON."""
    rows, length = (int(n) for n in o.tokens.split("x"))
    model = {"unsloth": unsloth_model, "peft": peft_model}[o.run](o, length)
    if isinstance(model, tuple):  # of some versions with a tokenizer
        model = model[0]
    import bitsandbytes
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = bitsandbytes.optim.AdamW8bit(trained, lr=2e-4)
    ids = torch.randint(3, VOCABULARY, (rows, length), device="cuda")
    model.train()

    def step():
        start = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(4):
        step()
    torch.cuda.empty_cache()
    times = [step() for _ in range(o.steps)]
    free, total = torch.cuda.mem_get_info()
    result = {"tokens_per_second": rows * length / statistics.median(times), "peak_gib": (total - free) / 2**30}
    result["spread"] = (max(times) - min(times)) / statistics.median(times)
    del model, optimizer, trained
    torch.cuda.empty_cache()
    print("RESULT " + json.dumps({**result, **ceilings()}))


def last_json(command, **options):
    """What a program says in its last line that is JSON, or why it said nothing."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=1800, **options)
    except (OSError, subprocess.TimeoutExpired) as e:
        return {"problem": str(e)}
    for line in reversed(run.stdout.splitlines()):
        try:
            result = json.loads(line.removeprefix("RESULT "))
        except ValueError:  # bars and warnings
            continue
        if isinstance(result, dict):
            return result
    said = (run.stderr or run.stdout).strip().splitlines()
    return {"problem": said[-1] if said else f"ended with code {run.returncode}"}


def ours(o, program, *flags):
    path = os.path.join(o.build, "bin", program)
    if not os.path.exists(path):
        return {"problem": f"{path} is not built; run make bench"}
    return last_json([path, "--device", o.device, "--shape", o.shape, "--json", *flags])


def missing(modules):
    return [m for m in modules if importlib.util.find_spec(m) is None]


def name_of(o, tokens):
    """As README's table calls a case."""
    name = ("8B" if o.shape == "llama3-8b" else o.shape) + ", " + " x ".join(tokens.split("x"))
    return name + ", nothing recomputed" * o.no_recompute + ", dropout 0" * (o.dropout == 0)


def train_rows(o):
    recompute = "none" if o.no_recompute else "full"
    for tokens in o.tokens.split(","):
        what = name_of(o, tokens)
        flags = ["--tokens", tokens, "--recompute", recompute, "--steps", str(o.steps), "--warm-up", "2"]
        yield what, "ggq", ours(o, "train_step", "--lora-dropout", str(o.dropout), *flags)
        for peer, (name, modules) in NEEDED.items():
            absent = missing(modules)
            if absent:
                yield what, name, {"problem": "not installed: " + ", ".join(absent)}
                continue
            command = [sys.executable, os.path.abspath(__file__), "--run", peer, "--tokens", tokens]
            command += ["--model", o.model, "--steps", str(o.steps)] + ["--no-recompute"] * o.no_recompute
            command += ["--dropout", str(o.dropout)]
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "UNSLOTH_DISABLE_STATISTICS": "1"}
            with tempfile.TemporaryDirectory() as folder:  # for what a peer compiles
                yield what, name, last_json(command, env=environment, cwd=folder)


def llama_bench(o):
    program = shutil.which("llama-bench")
    if not o.gguf:
        return {"problem": "no model: give --gguf FILE"}
    if program is None:
        if missing(["llama_cpp"]):
            return {"problem": "not installed: neither llama-bench nor llama_cpp"}
        command = [sys.executable, os.path.abspath(__file__), "--run", "llama_cpp", "--gguf", os.path.abspath(o.gguf)]
        return last_json(command)
    result = last_json([program, "-m", o.gguf, "-p", "0", "-n", "256", "-fa", "1", "-o", "jsonl"])
    return {"tokens_per_second": result["avg_ts"]} if "avg_ts" in result else {"problem": str(result)[:200]}


def generate(o):
    """Greedy generation by llama-cpp-python, in this process; prints a line of JSON."""
    import llama_cpp

    llama = llama_cpp.Llama(o.gguf, n_gpu_layers=-1, n_ctx=512, flash_attn=True, verbose=False)
    for _ in range(2):  # the second one is warm
        times = []
        for _ in llama.generate([1] * 128, top_k=1, temp=0.0):
            times.append(time.perf_counter())
            if len(times) == 257:
                break
        llama.reset()
    print("RESULT " + json.dumps({"tokens_per_second": 256 / (times[-1] - times[0])}))


def decode_rows(o):
    what = "8B, greedy generation, batch 1"
    yield what, "ggq", ours(o, "decode")
    yield what, "llama.cpp", llama_bench(o)


def print_row(work, name, r, reference):
    if "problem" in r:
        print(f"{work:<36} {name:<20} {r['problem']}", flush=True)
        return
    rate, memory = r["tokens_per_second"], f"{r['peak_gib']:.1f} GiB" if "peak_gib" in r else "-"
    times = f"{reference / rate:.2f}x" if reference else "-"
    product = f"{r['ceiling_tflops']:.0f} TFLOP/s" if "ceiling_tflops" in r else "-"
    copy = r.get("ceiling_copy_tb_s", r.get("ceiling_gb_s", 0) / 1000)
    copied = f"{copy:.2f} TB/s" if copy else "-"
    print(f"{work:<36} {name:<20} {rate:>10.1f} {memory:>10} {times:>8} {product:>14} {copied:>12}", flush=True)


COLUMNS = {"Unsloth": "Unsloth, llama.cpp", "llama.cpp": "Unsloth, llama.cpp"}


def keep(o, work, name, result):
    """A peer's figure goes into the file of peers, from which README's table is made."""
    if not o.output or name == "ggq" or "problem" in result:
        return
    peers = {"peers": [], "rows": {}}
    if os.path.exists(o.output):
        with open(o.output) as file:
            peers = json.load(file)
    column = COLUMNS.get(name, name)
    if column not in peers["peers"]:
        peers["peers"].append(column)
    figures = {key: round(result[key], 1) for key in ("tokens_per_second", "peak_gib") if key in result}
    peers["rows"].setdefault(work, {})[column] = figures
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in peers["rows"].items())
    with open(o.output, "w") as file:
        file.write(f'{{\n"peers": {json.dumps(peers["peers"])},\n"rows": {{\n{rows}\n}}\n}}\n')


def print_table(o):
    print(f"{'work':<36} {'by':<20} {'tokens/s':>10} {'memory':>10} {'ggq is':>8} {'bf16 product':>14} {'copy':>12}")
    reference = {}
    for rows in (train_rows(o), decode_rows(o)):
        for work, name, result in rows:
            if name == "ggq":
                reference[work] = result.get("tokens_per_second")
            print_row(work, name, result, reference.get(work))
            keep(o, work, name, result)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build", help="where ggq is built, with its benches")
    p.add_argument("--tokens", default="4x2048,1x512", help="documents x length, some of them")
    p.add_argument("--steps", type=int, default=5, help="timed updates")
    p.add_argument("--no-recompute", action="store_true")
    p.add_argument("--model", help="a Hugging Face folder of the 8B shape; else one is made and removed")
    p.add_argument("--gguf", help="an 8B for llama-bench")
    p.add_argument("--shape", default="llama3-8b", help="of ggq's programs")
    p.add_argument("--device", default="cuda", help="of ggq's programs")
    p.add_argument("--dropout", type=float, default=0.05, help="of LoRA")
    p.add_argument("--output", help="a file bench/results/peers-<card>.json to put the peers' figures into")
    p.add_argument("--run", choices=[*NEEDED, "llama_cpp"], help=argparse.SUPPRESS)
    return p.parse_args()


def main():
    o = arguments()
    if o.run:
        generate(o) if o.run == "llama_cpp" else train(o)
        return
    if o.model:
        o.model = os.path.abspath(o.model)
    wants_model = o.model is None and any(not missing(modules) for _, modules in NEEDED.values())
    with tempfile.TemporaryDirectory() as folder:
        if wants_model:
            o.model = folder
            # In a process of its own, so that no memory of the card stays taken.
            make = "import sys, runpy; runpy.run_path(sys.argv[1])['make_model'](sys.argv[2])"
            subprocess.run([sys.executable, "-c", make, os.path.abspath(__file__), folder], check=True)
        print_table(o)


if __name__ == "__main__":
    main()
