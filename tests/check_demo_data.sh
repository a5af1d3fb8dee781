#!/bin/sh
# check_demo_data.sh [ROOT]: makes the data of the demo and counts what its result rests on: no prompt, answer or road of
# the test occurs in the training file, at least 1,000 answers differ, and no one answer fits 5 % of the test or more.
set -eu
cd "${1:-$(dirname "$0")/..}"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sh examples/demo/make_task.sh "$folder"

awk '
# A road is what the prompt lists: "I came by ROAD. How do I get back?"
function field(name,    text) {
    text = $0
    if (!sub(".*\"" name "\": \"", "", text) || !sub(/".*/, "", text)) bad("has no " name)
    return text
}
function bad(what) { print FILENAME ":" FNR ": " what; n_bad++ }
function absent(what) { if (index(training, what)) bad("is in the training file: " what) }

{ prompt = field("instruction"); answer = field("output") }
FNR == NR {
    training = training $0 "\n"
    n_train++
    if (!(answer in seen)) n_answers++
    seen[answer]
    next
}
{
    n_test++
    absent(prompt)
    absent(answer)
    road = prompt
    gsub(/^I came by |[.] How do I get back[?]$/, "", road)
    if (road == prompt) bad("is not a prompt of the demo")
    absent(road)
    if (++same[answer] > most) most = same[answer]
}
END {
    if (n_test < 200) { print "expected 200 test prompts or more, got " n_test + 0; n_bad++ }
    if (n_answers < 1000) { print "expected 1,000 answers or more, got " n_answers + 0; n_bad++ }
    if (most * 20 >= n_test) { print "one answer fits " most " of " n_test + 0 " test prompts"; n_bad++ }
    if (n_bad) exit 1
    printf "demo data: %d training samples with %d answers; %d test prompts, none of them known, the commonest answer %.1f %%\n",
           n_train, n_answers, n_test, 100 * most / n_test
}' "$folder/train.jsonl" "$folder/test.jsonl"
