#!/bin/sh
# table_gpu.sh [BUILD]: measures the figures of README's table of a GPU and prints it: the median of three runs a row.
set -eu
bin=${1:-build}/bin

# The value of a key, from the line of three whose rate is in the middle.
value() { printf '%s\n' "$runs" | sed "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/"; }

measure() {
    runs=$(for _ in 1 2 3; do "$bin/$@" --device cuda --json; done |
        sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1 &/' | sort -n | sed -n '2s/^[^ ]* //p')
    [ -n "$runs" ] # else the program has said why
}

train_row() {
    what=$1
    shift
    measure train_step "$@"
    LC_ALL=C awk -v what="$what" -v rate="$(value tokens_per_second)" -v share="$(value share_of_ceiling)" \
        -v gib="$(value peak_gib)" \
        'BEGIN { printf "| %s | %.0f tokens/s | %.0f %% of the bf16 product | %.1f GiB |\n", what, rate, 100 * share, gib }'
}

decode_row() {
    what=$1
    shift
    measure decode "$@"
    LC_ALL=C awk -v what="$what" -v rate="$(value tokens_per_second)" -v read="$(value weight_gb_s)" \
        -v copy="$(value ceiling_gb_s)" -v gib="$(value peak_gib)" \
        'BEGIN { printf "| %s | %.0f tokens/s | %.0f %% of the copy rate | %.1f GiB |\n", what, rate, 100 * read / copy, gib }'
}

echo "| | figure | share of the ceiling measured in the same run | peak memory |"
echo "|---|---|---|---|"
train_row "8B, 1 x 512" --shape llama3-8b --tokens 1x512
train_row "8B, 4 x 2048" --shape llama3-8b --tokens 4x2048
train_row "8B, 4 x 2048, nothing recomputed" --shape llama3-8b --tokens 4x2048 --recompute none
train_row "1B, 4 x 2048" --shape llama3.2-1b --tokens 4x2048
train_row "70B, 1 x 512" --shape llama3-70b --tokens 1x512
decode_row "8B, greedy generation, batch 1" --shape llama3-8b
