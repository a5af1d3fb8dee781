#!/bin/sh
# table.sh [BUILD]: measures the figures of README's table and prints it: the median of nine runs
# of a product, five training steps in one run.
set -eu
bin=${1:-build}/bin

echo "| | figure | share of the ceiling measured in the same run |"
echo "|---|---|---|"
"$bin/bench_products" --device cpu --large --benchmark_filter='^quant_matmul:nf4/(4096|11008)x4096/(1|512)/' \
    --benchmark_repetitions=9 --benchmark_format=csv 2>/dev/null |
    awk -F, '
    /^name,/ { for (i = 1; i <= NF; i++) { gsub(/"/, "", $i); column[$i] = i } next }
    /_median"/ {
        split($1, part, "/")
        name = part[2]
        sub(/x/, " x ", name)
        if (part[3] == 1)
            printf "| NF4 matrix-vector, %s | %.1f GB/s | %.0f %% of the read bandwidth |\n", name, $column["GB/s"], $column["%bytes"]
        else
            printf "| NF4 product, 512 rows, %s | %.0f GFLOP/s | %.0f %% of the multiply-add peak |\n", name, 1000 * $column["TFLOP/s"], $column["%flops"]
    }'
"$bin/train_step" --device cpu --tokens 4x256 --steps 5 --profile --json |
    awk '
    function value(key) { match($0, "\"" key "\":[^,}]*"); return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) }
    {
        printf "| training step, 15M-parameter Llama in NF4, 4 x 256 tokens, full recompute | %.0f tokens/s | %.0f %% of the multiply-add peak |\n",
            value("tokens_per_second"), 100 * value("share_of_ceiling")
        printf "| the same, time outside of kernels | %.2f %% | |\n", 100 * value("outside_kernels")
    }'
