#!/bin/sh
# The demo: fine-tunes the small Llama in examples/demo/base with LoRA on its weights in NF4, and shows what it answers
# before and after. `make demo` builds first and calls this; everything that is made lies in build/demo. DEVICE=cuda runs it
# on a GPU; the model is so small that starting a program there takes longer than an answer.
set -eu
cd "$(dirname "$0")/../.."

demo=examples/demo
base=$demo/base
bin=${BUILD:-build}/bin
out=${BUILD:-build}/demo
device=${DEVICE:-cpu}
n_shown=3

# Alpaca's form, a sample in a line: the words of a field, quoted in JSON.
field() { sed "s/.*\"$1\": \"\([^\"]*\)\".*/\1/" "$2"; }

# Answers the prompts of a file, each in a line. What follows are further flags of generate.
answer() {
    prompts=$1
    shift
    while IFS= read -r prompt; do
        text=$("$bin/generate" --model $base "$@" --template alpaca --prompt "$prompt" --temp 0 --max-new-tokens 40 \
            --device "$device" --threads 1 --quiet </dev/null)
        printf '%s' "$text" | tr '\n' ' '
        echo
    done <"$prompts"
}

# Two at a time: the odd prompts and the even ones.
answer_all() {
    name=$1
    shift
    answer "$out/odd.txt" "$@" >"$out/$name-odd.txt" &
    other=$!
    answer "$out/even.txt" "$@" >"$out/$name-even.txt"
    wait $other
    paste -d '\n' "$out/$name-odd.txt" "$out/$name-even.txt" >"$out/$name.txt"
}

n_right() {
    paste -d '\n' "$out/expected.txt" "$out/$1.txt" |
        awk 'NR % 2 { want = $0; next } $0 == want { n++ } END { print n + 0 }'
}

show() {
    for i in $(seq $n_shown); do
        printf '  %-9s%s\n' prompt: "$(sed -n "${i}p" "$out/prompts.txt")"
        printf '  %-9s%s\n\n' answer: "$(sed -n "${i}p" "$out/$1.txt")"
    done
}

seconds() { date +%s; }

mkdir -p "$out"
sh $demo/make_task.sh "$out"
field instruction "$out/test.jsonl" >"$out/prompts.txt"
field output "$out/test.jsonl" >"$out/expected.txt"
n_test=$(wc -l <"$out/test.jsonl")
awk 'NR % 2 == 1' "$out/prompts.txt" >"$out/odd.txt"
awk 'NR % 2 == 0' "$out/prompts.txt" >"$out/even.txt"

echo "== Before: the base answers $n_test prompts that it will not be trained on"
t0=$(seconds)
answer_all before
t1=$(seconds)
show before

echo "== Fine-tuning: LoRA on the base in NF4 with double quantization, $(wc -l <"$out/train.jsonl") samples"
rm -rf "$out/adapter"
"$bin/train" --model $base --data "$out/train.jsonl" --output "$out/adapter" --max-length 128 --grad-accum 1 --lr 1e-3 \
    --device "$device"
t2=$(seconds)

echo
echo "== After: the same prompts, with the adapter"
answer_all after --adapter "$out/adapter"
t3=$(seconds)
show after

right=$(n_right after)
printf '%-34s%10s%10s\n' '' before after
printf '%-34s%10s%10s\n' "exact answers to $n_test unseen prompts" "$(n_right before)" "$right"
printf '%-34s%9ss%9ss\n' 'time to answer them' $((t1 - t0)) $((t3 - t2))
echo "fine-tuning took $((t2 - t1)) s; the loss is drawn in $out/adapter/loss.png"
[ $((10 * right)) -gt $((9 * n_test)) ] || {
    echo "demo: expected more than 90 % exact answers after fine-tuning, got $right of $n_test" >&2
    exit 1
}
