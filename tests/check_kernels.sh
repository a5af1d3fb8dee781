#!/bin/sh
# check_kernels.sh [ROOT]: every entry point of kernels/kernels.h is written for the CPU and for CUDA, each kernel that is
# written is declared there, and a row of ggq/ops/ names both. The linker says so too, but only where CUDA is built.
set -eu
cd "${1:-$(dirname "$0")/..}"

bad=0
n=0
for name in $(sed -n 's/^GGQ_KERNEL(\([a-z0-9_]*\));.*/\1/p' kernels/kernels.h); do
    n=$((n + 1))
    grep -qE "^void $name\(const CpuContext" kernels/cpu/*.cpp || { echo "kernels/cpu lacks $name"; bad=1; }
    grep -qE "^void $name\(const CudaContext" kernels/cuda/*.cu || { echo "kernels/cuda lacks $name"; bad=1; }
    grep -qE "kernels::$name\b" ggq/ops/*.cpp || { echo "no row of ggq/ops names kernels::$name"; bad=1; }
done
[ "$n" -gt 0 ] || { echo "kernels: found no entry point"; exit 1; }
[ "$bad" = 0 ] || exit 1
echo "kernels: $n entry points, each on the CPU and on CUDA"
