#!/bin/sh
# check_docs.sh [ROOT]: what the pages at the root of the project name must exist: linked files, paths in backquotes
# that begin with a folder of the project, targets of make, and programs in build/bin.
set -eu
cd "${1:-$(dirname "$0")/..}"

bad=0
n=0
missing() {
    echo "$page: $1 does not exist"
    bad=1
}

for page in README.md DESIGN.md CONTRIBUTING.md; do
    if [ ! -f "$page" ]; then
        missing "the page itself"
        continue
    fi
    links=$(grep -o '](\([^)]*\))' "$page" | sed 's/^](//; s/)$//; s/#.*//' | grep -v '^[a-z]*:' || true)
    paths=$(grep -oE '`(kernels|ggq|models|examples|tests|bench|\.ci)/[A-Za-z0-9_./-]*`' "$page" | tr -d '`' || true)
    for path in $links $paths; do
        n=$((n + 1))
        [ -e "$path" ] || missing "$path"
    done
    for target in $(grep -oE '`make [a-z-]+|^ *(\$ )?make [a-z-]+ *(#.*)?$' "$page" | sed 's/^[^m]*make \([a-z-]*\).*/\1/'); do
        n=$((n + 1))
        grep -q "^$target:" Makefile || missing "the target 'make $target'"
    done
    for program in $(grep -oE 'build/bin/[a-z][a-z0-9_-]*' "$page" | sed 's,.*/,,' | sort -u); do
        n=$((n + 1))
        [ "$program" = ggq-tests ] || [ -f "examples/$program.cpp" ] || [ -f "bench/$program.cpp" ] ||
            missing "the program build/bin/$program"
    done
done
[ "$bad" = 0 ] || exit 1
echo "docs: $n paths, targets and programs exist"
