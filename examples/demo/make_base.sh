#!/bin/sh
# Makes the base model of the demo again: its text, its tokenizer, and its weights, trained from random ones with the
# same program that fine-tunes it later. `make base` builds first and calls this: five to ten minutes on 2 cores.
set -eu
cd "$(dirname "$0")/../.."

demo=examples/demo
base=$demo/base
bin=${BUILD:-build}/bin
out=${BUILD:-build}/base

mkdir -p "$out/start"
awk -v SEED=1 -v STORIES=60000 -f $demo/world.awk -f $demo/make_text.awk >"$out/text.jsonl"
sh $demo/make_task.sh "$out"
{
    head -n 1500 "$out/text.jsonl" | sed 's/.*"text": "//'
    sed 's/.*"instruction": "//; s/", "output": "/\\n/' "$out/train.jsonl"
    printf '%s\n' 'Below is an instruction that describes a task.' \
        'Write a response that appropriately completes the request.' '### Instruction:' '### Response:'
} >"$out/words.txt"
LC_ALL=C awk -f $demo/make_tokenizer.awk "$out/words.txt" >"$out/start/tokenizer.json"
cp $base/config.json $base/tokenizer_config.json "$out/start"

"$bin/train" --train full --from-scratch --model "$out/start" --data "$out/text.jsonl" --output "$out/model" \
    --overwrite --max-length 256 --batch-size 3 --grad-accum 1 --max-steps 8000 --lr 3e-3 \
    --lr-scheduler cosine --lr-min 1e-4 --optim adamw --adam-beta2 0.98 --weight-decay 0.1 --recompute none \
    --log-every 100 --save-every 0
cp "$out/model/model.safetensors" "$out/start/tokenizer.json" $base
echo "the base in $base is new"
