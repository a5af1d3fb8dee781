#!/bin/sh
# table_memory.sh [BUILD]: measures the figures of README's tables of memory on a GPU and prints them, or those that
# TABLES names: budgets, caps (for SHAPES), batches; STEPS updates a row. Takes ten minutes, most of them for 70B, and a
# card with 52 GiB.
set -eu
bin=${1:-build}/bin

out=$(mktemp)
trap 'rm -f "$out"' EXIT
field() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" "$out"; }
gib() { awk -v b="$1" 'BEGIN { printf "%.1f", b / 1073741824 }'; }
# step SHAPE TOKENS FLAG...
step() {
    shape=$1 tokens=$2
    shift 2
    "$bin/train_step" --shape "$shape" --tokens "$tokens" --steps "${STEPS:-2}" --device cuda --json "$@" > "$out" 2> /dev/null
}

# row WHAT BUDGET SHAPE TOKENS FLAG...: beside the last row without a budget.
row() {
    what=$1 budget=$2
    shift 2
    if [ "$budget" = none ]; then step "$@" --recompute full; else step "$@" --recompute auto --gpu-memory "${budget%%,*}"; fi
    rate=$(field tokens_per_second)
    [ "$budget" != none ] || resident=$rate
    echo "$what $budget $(field peak_gib) $(gib "$(field host_bytes)") $rate $resident" >&2
    LC_ALL=C awk -v what="$what" -v budget="$budget" -v peak="$(field peak_gib)" -v host="$(gib "$(field host_bytes)")" \
        -v rate="$rate" -v resident="$resident" 'BEGIN {
            share = budget == "none" ? "" : sprintf("%.1f %%", 100 * rate / resident)
            printf "| %s | %s | %.1f GiB | %s GiB | %.0f | %s |\n", what, budget, peak, host, rate, share }'
}

budgets() {
    echo "| | budget | peak memory | host memory | tokens/s | of the resident speed |"
    echo "|---|---|---|---|---|---|"
    row "8B, 4 x 2048" none llama3-8b 4x2048
    row "" 6GiB llama3-8b 4x2048
    row "" "6GiB, \`managed\`" llama3-8b 4x2048 --pager managed
    row "8B, 1 x 512" none llama3-8b 1x512
    row "" 3380MiB llama3-8b 1x512
    row "8B in bf16, 4 x 2048" none llama3-8b 4x2048 --quant none
    row "" 8GiB llama3-8b 4x2048 --quant none
    row "the same, 4 micro-batches layer by layer" 8GiB llama3-8b 4x2048 --quant none --grad-accum 4 --together
    row "1B in full, 32-bit AdamW, 1 x 512" none llama3.2-1b 1x512 --train full --optim paged_adamw_32bit
    row "" 9GiB llama3.2-1b 1x512 --train full --optim paged_adamw_32bit
    row "70B, 4 x 2048" none llama3-70b 4x2048
    for budget in 45GiB 24GiB 16GiB 12GiB; do row "" $budget llama3-70b 4x2048; done
}

caps() {
    echo "| | 8 GiB | 16 GiB | 24 GiB | 48 GiB |"
    echo "|---|---|---|---|---|"
    for shape in ${SHAPES:-llama2-7b llama2-13b codellama-34b llama2-70b}; do
        line="| $shape"
        for cap in 8 16 24 48; do
            cell=no
            for tokens in 1x512 4x2048; do
                step "$shape" $tokens --recompute auto --gpu-memory "${cap}GiB" || continue
                cell="$(field tokens_per_second | awk '{ printf "%.0f", $1 }') at $tokens"
            done
            line="$line | $cell"
        done
        echo "$line |"
    done
}

batches() {
    echo "| micro-batch | peak memory | weights on the card | adapter, gradients, optimizer | activations and workspace | GPU's own |"
    echo "|---|---|---|---|---|---|"
    for rows in 1 2 4; do
        step llama3-8b ${rows}x512 --recompute full
        echo "| $rows x 512 | $(field peak_gib | awk '{ printf "%.2f", $1 }') GiB | $(gib "$(field weights_bytes)") GiB |" \
            "$(gib "$(field trained_bytes)") GiB | $(gib "$(field arena_bytes)") GiB | $(gib "$(field overhead_bytes)") GiB |"
    done
}

for table in ${TABLES:-budgets caps batches}; do
    $table
    echo
done
