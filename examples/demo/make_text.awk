# What the base model reads: short stories from the little world, as JSON lines {"text": ...}.
#
#   awk -v SEED=1 -v STORIES=60000 -f world.awk -f make_text.awk
#
# People walk out by a road, others follow them or turn round, and they come home by the same road backwards. Nobody is
# asked for the way back and answers, and the Alpaca template does not occur.
BEGIN {
    out = "[who] walks out by | [who] sets off by | In the morning [who] passes | The road of [who] leads by | " \
          "I saw how [who] came by"
    follow = "[person] follows by | The same road takes [person] by | [person] does as much and passes"
    join = "Later [person] passes | [person] joins halfway by"
    turn = "[person] turns round early by | Halfway back [person] passes"
    home = "[who] comes home by | [who] returns by | In the evening [who] passes | The road home leads by"
    aside = "The [place] lies below the [place]. | Below the [place] is an old [place]. | " \
            "Go to the [place] with [person]. | I get water from the [place]. | How old is the [place]? | Is [person] back from the [place]? | " \
            "Write to [person] that I came to the [place]. | [person] completes the task. | " \
            "[person] describes a [place]. | A response to the request of [person] is an instruction. | " \
            "How do I get to the [place]? | I do not know the [place]. | " \
            "That instruction appropriately describes the [place]."
    for (n = 0; n < STORIES; n++) print "{\"text\": \"" story() "\"}"
}

function story(    n_words, text, words) {
    n_words = 40 + random(25)
    text = excursion()
    while (split(text, words, " ") < n_words) text = text gap() excursion()
    return text
}

function excursion(    who, text, n_others) {
    who = person()
    draw_road(2, 8)
    text = phrase(out, who) " " road_there() "."
    if (random(4) == 0) text = text gap() phrase(aside)
    for (n_others = random(3); n_others > 0; n_others--) text = text gap() other()
    return text gap() phrase(home, who) " " road_back() "."
}

# Somebody else on the same road, the whole of it or from a stop halfway.
function other(    kind) {
    kind = random(3)
    if (kind == 0) return phrase(follow) " " road_there() "."
    if (kind == 1) return phrase(join) " " stops(1 + random(n_stops), n_stops) "."
    return phrase(turn) " " stops(1 + random(n_stops), 1) "."
}

# Sentences follow in the same line or in the next one, in JSON's spelling.
function gap() { return random(3) ? " " : "\\n" }

# One of the phrases, which "|" separates, with names put in.
function phrase(list, who,    phrases, text) {
    text = phrases[1 + random(split(list, phrases, / [|] /))]
    sub(/\[who\]/, who, text)
    while (text ~ /\[person\]/) sub(/\[person\]/, person(), text)
    while (text ~ /\[place\]/) sub(/\[place\]/, place(), text)
    return text
}
