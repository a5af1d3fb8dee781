#!/bin/sh
# check_isa_symbols.sh NM ISA OBJECT... [ISA OBJECT...]
#
# Objects built for one instruction set may not define a weak function (an inline function, an instance of a template)
# outside of the namespace of that name: the linker keeps one copy of each for the whole program, and a copy with
# AVX-512 instructions would end the program on a machine that has none. Weak data (V, u) are alike in every copy.
set -eu
nm=$1
shift

isa=
n_objects=0
bad=0
for argument in "$@"; do
    case $argument in
    *.o) ;;
    *) isa=$argument && continue ;;
    esac
    n_objects=$((n_objects + 1))
    # A mangled name writes a namespace as its length and name.
    found=$("$nm" --defined-only "$argument" |
        awk -v inside="${#isa}$isa" '$2 == "W" && index($3, inside) == 0 { print $3 }')
    if [ -n "$found" ]; then
        printf '%s is built for %s and defines weak functions outside of that namespace:\n' "$argument" "$isa"
        printf '%s\n' "$found" | c++filt | sed 's/^/    /'
        bad=1
    fi
done
[ "$n_objects" -gt 0 ] || { echo "isa_symbols: no objects given" && exit 1; }
[ "$bad" = 0 ] || exit 1
echo "isa_symbols: $n_objects objects, no weak function outside of its instruction set"
