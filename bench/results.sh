#!/bin/sh
# results.sh [BUILD [FLAG...]]: runs every family of benches three times over and writes bench/results/<card>.json with
# the card, its driver and clocks, the commit and the date. Flags go to the benches: --device cpu, --benchmark_filter=nf4.
set -eu
bin=${1:-build}/bin
[ $# = 0 ] || shift

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
# The context is a list of name=value, so that no value may hold a comma.
context="commit=$(git describe --always --dirty 2> /dev/null || echo unknown)"
if card=$(nvidia-smi --query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit --format=csv,noheader 2> /dev/null); then
    context="$context,driver_and_clocks=$(printf '%s\n' "$card" | sed -n 1p | tr ',' ';')"
fi
for bench in "$bin"/bench_*; do
    part=$parts/${bench##*/}.json
    "$bench" "$@" --benchmark_repetitions=3 "--benchmark_context=$context" --benchmark_out_format=json "--benchmark_out=$part"
    # A filter may have left nothing of a family.
    grep -q '"run_type"' "$part" 2> /dev/null || rm -f "$part"
done
"$bin/results" join "$(dirname "$0")/results" "$parts"/*.json
