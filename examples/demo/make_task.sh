#!/bin/sh
# make_task.sh FOLDER: makes what the demo trains on, train.jsonl, and what it is tested with, test.jsonl.
set -eu
demo=$(dirname "$0")
awk -v SEED=1 -v N_TRAIN=2000 -v TRAIN="$1/train.jsonl" -v N_TEST=200 -v TEST="$1/test.jsonl" \
    -f "$demo/world.awk" -f "$demo/make_task.awk"
