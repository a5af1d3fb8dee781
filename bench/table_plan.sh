#!/bin/sh
# table_plan.sh [PLAN]: README's table of what fits where, by plan alone: no weights, no GPU. PLAN is the program. Takes
# some minutes, most of them for full training.
set -eu
plan=${1:-build/bin/plan}

field() { sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p" "$1"; }
gib() { awk -v b="$1" 'BEGIN { printf "%.1f", b / 1073741824 }'; }

out=$(mktemp)
trap 'rm -f "$out"' EXIT
planned() { "$plan" --gpu h200 --batch-size 1 --max-length 512 --grad-accum 4 --json "$@" > "$out" 2> /dev/null; }

echo "| | all on the card | in 8 GiB | in 16 GiB | in 24 GiB | in 48 GiB | in 80 GiB |"
echo "|---|---|---|---|---|---|---|"
for shape in llama2-7b llama2-13b codellama-34b llama2-70b; do
    for way in "QLoRA:--quant nf4" "LoRA:--quant none" "full:--train full --optim paged_adamw_32bit"; do
        flags=${way#*:}
        row="| $shape, ${way%%:*}"
        # shellcheck disable=SC2086
        planned --shape $shape $flags --recompute full || true
        # On the host then is the embedding table at most.
        if [ "$(field "$out" fits)" = true ] && [ "$(field "$out" host_bytes)" -lt 3000000000 ]; then
            row="$row | $(gib "$(field "$out" device_bytes)") GiB"
        else
            row="$row | more than 140 GiB"
        fi
        for cap in 8 16 24 48 80; do
            # shellcheck disable=SC2086
            if planned --shape $shape $flags --gpu-memory ${cap}GiB; then
                row="$row | $(field "$out" estimated_seconds | awk '{ printf "%.2f s", $1 }')"
                [ "$(field "$out" bytes_in)" = 0 ] || row="$row, $(gib "$(field "$out" host_bytes)") GiB on the host"
            else
                row="$row | no"
            fi
        done
        echo "$row |"
    done
done
