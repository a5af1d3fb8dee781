#!/bin/sh
# table_gpu.sh [BUILD]: measures the rows of README's table of a GPU, the median of RUNS (3) runs each, into
# bench/results/steps-<card>.json and prints the table; `build/bin/results readme` then puts it into README. ROWS, a
# pattern of grep -E, takes some rows alone, which replace those of the file.
set -eu
bin=${1:-build}/bin
folder=$(dirname "$0")/results

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

# row WHAT PROGRAM FLAG...: the line of the run whose rate is in the middle, with its name.
row() {
    what=$1 program=$2
    shift 2
    printf '%s\n' "$what" | grep -qE "${ROWS:-.}" || return 0
    echo "$what" >&2
    run=0
    while [ $run -lt "${RUNS:-3}" ]; do
        "$bin/$program" "$@" --device cuda --json
        run=$((run + 1))
    done | sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1 &/' | sort -n |
        awk '{ line[NR] = $0 } END { if (NR) print line[int((NR + 1) / 2)] }' |
        sed "s/^[^ ]* {/{\"what\":\"$what\",/" >> "$lines"
}

train_row() {
    what=$1 shape=$2 tokens=$3
    shift 3
    row "$what" train_step --shape "$shape" --tokens "$tokens" "$@"
}

train_row "8B, 1 x 512" llama3-8b 1x512
train_row "8B, 1 x 8192" llama3-8b 1x8192
train_row "8B, 4 x 2048" llama3-8b 4x2048
train_row "8B, 4 x 2048, dropout 0" llama3-8b 4x2048 --lora-dropout 0
train_row "8B, 4 x 2048, nothing recomputed" llama3-8b 4x2048 --recompute none
train_row "8B, 4 x 2048, nothing recomputed, dropout 0" llama3-8b 4x2048 --recompute none --lora-dropout 0
train_row "8B over a base in bf16, 4 x 2048" llama3-8b 4x2048 --quant none
train_row "1B, 4 x 2048" llama3.2-1b 4x2048
train_row "1B, 4 x 2048, nothing recomputed" llama3.2-1b 4x2048 --recompute none
train_row "70B, 1 x 512" llama3-70b 1x512
train_row "70B, 4 x 2048" llama3-70b 4x2048 --steps 2
row "8B, greedy generation, batch 1" decode --shape llama3-8b
row "8B with an adapter, greedy generation, batch 1" decode --shape llama3-8b --lora-r 16
row "1B, greedy generation, batch 1" decode --shape llama3.2-1b

[ -s "$lines" ] # else the programs have said why
context="commit=$(git describe --always --dirty 2> /dev/null || echo unknown)"
if card=$(nvidia-smi --query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit --format=csv,noheader 2> /dev/null); then
    context="$context,driver_and_clocks=$(printf '%s\n' "$card" | sed -n 1p | tr ',' ';')"
fi
"$bin/results" steps "$folder" "$lines" "$context,date=$(date -u +%Y-%m-%d),runs=${RUNS:-3}"
