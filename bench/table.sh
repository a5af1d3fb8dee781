#!/bin/sh
# table.sh [BUILD]: measures the figures of README's table and prints it. For every row the best of five runs is taken:
# other loads of a machine only ever make it slower.
set -eu
bin=${1:-build}/bin

echo "| | figure | share of the ceiling measured in the same run |"
echo "|---|---|---|"
"$bin/bench_quant_matmul" --benchmark_filter='n:(4096|11008)/k:4096/m:(1|512)/' --benchmark_repetitions=5 \
    --benchmark_format=csv 2>/dev/null |
    awk -F, '
    /^name,/ { for (i = 1; i <= NF; i++) { gsub(/"/, "", $i); column[$i] = i } next }
    /real_time"?,/ && !/_(mean|median|stddev|cv)"/ {
        split($1, part, /[:\/]/)
        name = part[3] " x " part[5]
        if (part[7] == 1) { what = "matrix-vector, " name; rate = $column["GB/s"]; unit = "GB/s"; share = $column["%read"]; of = "read bandwidth" }
        else { what = "product, 512 rows, " name; rate = $column["GFLOP/s"]; unit = "GFLOP/s"; share = $column["%fma"]; of = "multiply-add peak" }
        if (!(what in best)) order[++n] = what
        if (rate > best[what]) { best[what] = rate; text[what] = sprintf("%.1f %s | %.0f %% of the %s", rate, unit, share, of) }
    }
    END { for (i = 1; i <= n; i++) print "| NF4 " order[i] " | " text[order[i]] " |" }'
"$bin/train_step" --device cpu --tokens 4x256 --steps 5 --profile --json |
    awk '
    function value(key) { match($0, "\"" key "\":[^,}]*"); return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) }
    {
        printf "| training step, 15M-parameter Llama in NF4, 4 x 256 tokens, full recompute | %.0f tokens/s | %.0f %% of the multiply-add peak |\n",
            value("tokens_per_second"), 100 * value("share_of_ceiling")
        printf "| the same, time outside of kernels | %.2f %% | |\n", 100 * value("outside_kernels")
    }'
