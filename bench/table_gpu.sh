#!/bin/sh
# table_gpu.sh [BUILD]: measures the figures of README's table of a GPU and prints it: the median of three runs a row.
set -eu
bin=${1:-build}/bin

# The value of a key, from the line of three whose rate is in the middle.
value() { printf '%s\n' "$runs" | sed "s/.*\"$1\":\([^,}]*\).*/\1/"; }

# row WHAT CEILING KEY SCALE UNIT PROGRAM FLAG...: CEILING is what the value of KEY, times SCALE, counts in UNIT.
row() {
    what=$1 ceiling=$2 key=$3 scale=$4 unit=$5 program=$6
    shift 6
    runs=$(for _ in 1 2 3; do "$bin/$program" "$@" --device cuda --json; done |
        sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1 &/' | sort -n | sed -n '2s/^[^ ]* //p')
    [ -n "$runs" ] # else the program has said why
    LC_ALL=C awk -v what="$what" -v ceiling="$ceiling" -v unit="$unit" -v rate="$(value tokens_per_second)" \
        -v share="$(value share_of_ceiling)" -v peak="$(value "$key")" -v scale="$scale" -v gib="$(value peak_gib)" 'BEGIN {
            printf "| %s | %.0f tokens/s | %.0f %% of %s, %.*f %s | %.1f GiB |\n",
                what, rate, 100 * share, ceiling, scale < 1, peak * scale, unit, gib }'
}

train_row() {
    what=$1
    shift
    row "$what" "a bf16 product" ceiling_tflops 1 TFLOP/s train_step "$@"
}

echo "| | figure | share of the ceiling measured in the same run | peak memory |"
echo "|---|---|---|---|"
train_row "8B, 1 x 512" --shape llama3-8b --tokens 1x512
train_row "8B, 4 x 2048" --shape llama3-8b --tokens 4x2048
train_row "8B, 4 x 2048, nothing recomputed" --shape llama3-8b --tokens 4x2048 --recompute none
train_row "1B, 4 x 2048" --shape llama3.2-1b --tokens 4x2048
train_row "70B, 1 x 512" --shape llama3-70b --tokens 1x512
row "8B, greedy generation, batch 1" "a copy" ceiling_gb_s 0.001 TB/s decode --shape llama3-8b
