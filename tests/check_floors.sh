#!/bin/sh
# check_floors.sh [ROOT]: reads every include and fails on an arrow that points upward.
#
# The floors: kernels < ggq < models < examples, tests, bench. A file includes only its own floor and those below,
# by paths from the root. Beyond that, models/ and the programs launch no kernel, kernels/ does without fmt, and
# headers of CUDA appear only in kernels/cuda/, in ggq/*cuda* and in bench/. Headers of the library pass JSON by
# json_fwd.hpp: the whole of it would be read by every file that includes them. Nor does a text of the library speak of
# a program's flags: it names options (`max_length`).
set -eu
cd "${1:-$(dirname "$0")/..}"

if grep -rnE '"[^"]*--[a-z]' kernels ggq models --include='*.h' --include='*.cpp' --include='*.cu'; then
    echo "floors: the library does not know the flags of programs; name the option: \`max_length\`"
    exit 1
fi

find kernels ggq models examples tests bench -type f \
    \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -exec grep -Hn '^ *# *include' {} + |
    awk -F: '
    BEGIN {
        floor["kernels"] = 1; floor["ggq"] = 2; floor["models"] = 3
        floor["examples"] = floor["tests"] = floor["bench"] = 4
    }
    function bad(what) { print $1 ":" $2 ": " what; n_bad++ }
    {
        n++
        split($1, from, "/")
        match($3, /["<][^">]*[">]/)
        name = substr($3, RSTART + 1, RLENGTH - 2)
        split(name, to, "/")
    }
    $3 ~ /</ {
        cuda = name ~ /^(cuda|cublas|curand|cufft|cusparse|cusolver|cupti|nvrtc|nvml|nvtx|nccl|mma\.h)/ ||
               name ~ /^(cooperative_groups|cub\/|cute\/|cutlass\/|thrust\/)/
        if (cuda && $1 !~ /^(kernels\/cuda|bench)\// && $1 !~ /^ggq\/[^\/]*cuda/)
            bad("a header of CUDA belongs to kernels/cuda/, ggq/*cuda* or bench/: " name)
        if (from[1] == "kernels" && to[1] == "fmt") bad("kernels/ does without fmt")
        if (floor[from[1]] < 4 && $1 ~ /\.cu?h$/ && name == "nlohmann/json.hpp")
            bad("a header of the library includes <nlohmann/json_fwd.hpp> instead of " name)
        next
    }
    !(to[1] in floor) { bad("an include in quotes is a path from the root of the project: " name); next }
    floor[to[1]] > floor[from[1]] { bad("points upward: " from[1] "/ may not include " name) }
    floor[from[1]] == 3 && name == "kernels/kernels.h" { bad("models/ launches no kernel") }
    END {
        if (n == 0) { print "floors: found no include to check"; exit 1 }
        if (n_bad) { print "floors: " n_bad " of " n " includes are wrong"; exit 1 }
        print "floors: " n " includes, no arrow upward"
    }'
