#!/bin/sh
# run.sh [BUILD [NAME]...]: are the tests awake? Each NAME.sed beside this script is a fault that someone might make: its
# head names the file that it changes and the test case that must see it. Each is applied to a copy of the tree, built,
# and expected to turn that case red. All by default; the copy and its build stay in BUILD-mutants for the next time.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build}
[ $# -gt 0 ] && shift
mkdir -p "$build-mutants/source"
copy=$(cd "$build-mutants" && pwd)

# Only what differs is copied, so that only that is compiled again.
git ls-files -co --exclude-standard > "$copy/files"
(cd "$copy/source" && find . -type f | sed 's|^\./||' | grep -vxFf "$copy/files" | xargs -r rm)
while read -r file; do
    [ ! -f "$file" ] || cmp -s "$file" "$copy/source/$file" && continue
    mkdir -p "$copy/source/$(dirname "$file")"
    cp "$file" "$copy/source/$file"
done < "$copy/files"
cmake -S "$copy/source" -B "$copy/build" -DGGQ_TESTS=ON -DGGQ_ISAS=portable -DGGQ_CUDA=OFF > "$copy/configure.log"

built() { cmake --build "$copy/build" -j "${JOBS:-2}" > "$copy/build.log" 2>&1; }
run_case() { "$copy/build/bin/ggq-tests" --test-case="$1" > "$copy/test.log" 2>&1; }
head_of() { sed -n "s/^# $2: //p" "$1"; }

# Sets `verdict`; the tree is as it was afterwards.
try() {
    file=$copy/source/$(head_of "$1" file) wanted=$(head_of "$1" test)
    cp -p "$file" "$copy/original"
    sed -f "$1" "$copy/original" > "$file"
    if cmp -s "$file" "$copy/original"; then verdict="changes nothing: mend its expression"
    elif ! built; then verdict="does not compile: see $copy/build.log"
    elif run_case "$wanted"; then verdict="SURVIVED '$wanted'"
    else verdict=red
    fi
    cp "$copy/original" "$file"  # with a new time
}

names=${*:-$(ls tests/mutants/*.sed | xargs -n 1 basename -s .sed)}
n_bad=0 n=0
built || { tail -n 20 "$copy/build.log"; exit 1; }
for name in $names; do
    run_case "$(head_of "tests/mutants/$name.sed" test)" || { echo "$name: its case fails without it"; exit 1; }
    grep -q 'test cases: *[1-9]' "$copy/test.log" || { echo "$name: there is no such case"; exit 1; }
done
for name in $names; do
    try "tests/mutants/$name.sed"
    n=$((n + 1))
    [ "$verdict" = red ] || n_bad=$((n_bad + 1))
    printf '%-28s %s\n' "$name" "$verdict"
done
echo "mutants: $((n - n_bad)) of $n were seen"
[ "$n_bad" -eq 0 ]
