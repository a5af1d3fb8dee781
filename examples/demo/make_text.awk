# What the base model reads: short stories from the little world, as JSON lines {"text": ...}.
#
#   awk -v SEED=1 -v STORIES=40000 -f world.awk -f make_text.awk
#
# People walk out by a road, come home by the same road backwards, and others follow them by the road as it is. There is
# no question, no answer and no template in any story.
BEGIN {
    for (n = 0; n < STORIES; n++) print "{\"text\": \"" story() "\"}"
}

function story(    text, goal) {
    goal = 40 + random(25)  # words
    n_words = 0
    text = excursion()
    while (n_words < goal) text = text gap() excursion()
    return text
}

# Sentences follow in a line or in the next one, in JSON's spelling.
function gap() { return random(3) ? " " : "\\n" }

function sentence(text,    words) {
    n_words += split(text, words, " ")
    return text
}

function excursion(    text, who) {
    who = person()
    draw_road(2, 8)
    text = sentence(out(who) " " road_there() ".")
    if (random(5) == 0) text = text gap() sentence(filler())
    if (random(2) == 0) text = text gap() sentence(follow(person()) " " road_there() ".")
    return text gap() sentence(home(who) " " road_back() ".")
}

function out(who) {
    return one_of(who " walks out by | " who " sets off by | In the morning " who " passes | The road of " who \
                  " leads by | I saw how " who " came by")
}

function follow(who) {
    return one_of(who " follows by | The same road takes " who " by | " who " does as much and passes")
}

function home(who) {
    return one_of(who " comes home by | " who " turns round by | In the evening " who " passes | The road home leads by")
}

function filler() {
    return one_of("The " place() " lies below the " place() ". | Below the " place() " is an old " place() ". | Go to the " \
                  place() " with " person() ". | I get water from the " place() ". | How old is the " place() "? | Is " \
                  person() " back from the " place() "? | Write to " person() " that I came to the " place() ". | " \
                  person() " completes the task. | " person() " describes a " place() ". | A response to the request of " \
                  person() " is an instruction. | How do I get to the " place() "? | I do not know the " place() ". | " \
                  "That " place() " is appropriately old.")
}
