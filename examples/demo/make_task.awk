# What the demo teaches: to answer somebody who came by a road and asks for the way back. Alpaca's form, JSON lines.
#
#   awk -v SEED=1 -v N_TRAIN=2000 -v TRAIN=train.jsonl -v N_TEST=200 -v TEST=test.jsonl -f world.awk -f make_task.awk
#
# Every road occurs once in both files together, and no road of the test occurs within one of the training file, in
# either direction.
BEGIN {
    for (n = 0; n < N_TEST; n++) {
        draw_new_road()
        there[n] = road_there()
        back[n] = road_back()
        print sample() > TEST
    }
    for (n = 0; n < N_TRAIN; n++) {
        do draw_new_road()
        while (meets_test())
        print sample() > TRAIN
    }
}

function draw_new_road() {
    do draw_road(4, 6)
    while (road_there() in known || road_back() in known)
    known[road_there()]
    known[road_back()]
}

function meets_test(    i) {
    for (i = 0; i < N_TEST; i++)
        if (index(road_there(), there[i]) || index(road_there(), back[i])) return 1
    return 0
}

function sample() {
    return sprintf("{\"instruction\": \"I came by %s. How do I get back?\", \"output\": \"Go back by %s.\"}",
                   road_there(), road_back())
}
