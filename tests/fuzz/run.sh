#!/bin/sh
# tests/fuzz/run.sh BUILD: runs every fuzz target of a build for FUZZ_SECONDS (5), from its seeds and from what earlier
# runs found, which is kept in BUILD/corpus. Ends with an error at the first finding, which lies in BUILD/findings.
set -eu
build=$1
here=$(dirname "$0")
seconds=${FUZZ_SECONDS:-5}
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:print_stacktrace=1"

for target in "$build"/bin/fuzz_*; do
    name=$(basename "$target")
    corpus=$build/corpus/$name
    seeds=$here/seeds/${name#fuzz_}
    [ -d "$seeds" ] || seeds=
    mkdir -p "$corpus" "$build/findings/$name"
    echo "$name: $seconds s"
    log=$build/findings/$name.log
    if ! "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -dict="$here/json.dict" -artifact_prefix="$build/findings/$name/" "$corpus" $seeds >"$log" 2>&1; then
        tail -40 "$log"
        echo "$name: a finding; see $log and $build/findings/$name" >&2
        exit 1
    fi
    sed -n 's/^stat::number_of_executed_units: *\([0-9]*\)$/  \1 inputs/p' "$log"
done
