# What the base model reads: short stories from the little world, as JSON lines {"text": ...}.
#
#   awk -v SEED=1 -v STORIES=40000 -f world.awk -f make_text.awk
#
# Somebody walks out by a road, others may follow, and the walker comes home by the same road backwards. Nobody is asked
# for the way back or answers, and the Alpaca template does not occur.
BEGIN {
    for (n = 0; n < STORIES; n++) print "{\"text\": \"" story() "\"}"
}

function story(    who, text, n_others) {
    draw_road(3, 5)
    who = person()
    text = who " " pick("walks out by|sets off by|came by") " " road_there() "."
    for (n_others = random(3); n_others > 0; n_others--)
        text = text gap() person() " " pick("follows by|passes") " " road_there() "."
    return text gap() who " " pick("comes home by|returns by|walks back by") " " road_back() "."
}

# Sentences follow in the same line or in the next one, in JSON's spelling.
function gap() { return random(2) ? " " : "\\n" }
