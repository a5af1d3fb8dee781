# The little world of the demo: its people, its places, and roads that pass several places.
#
# Loaded before make_text.awk and make_task.awk. Every awk makes the same world from the same SEED: the numbers come
# from Lehmer's generator (s = 16807 s mod 2^31 - 1), whose products are exact in the doubles that awk counts with.
BEGIN {
    state = 16807 * (SEED + 1) % 2147483647
    n_people = split("Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Lena Max Nora Oscar Paula Tom", people, " ")
    n_places = split("mill oak bridge inn lake barn well gate ford hill church tower farm pond cave dam forge " \
                     "market orchard harbour beach cliff meadow quarry chapel castle school bakery stable " \
                     "garden field spring stream rock pine willow fence wall stile square fountain statue " \
                     "library station pier lighthouse dune island marsh glade ridge hut cottage temple ruin " \
                     "tunnel canal ferry kiln vineyard", places, " ")
}

# 0 .. n - 1
function random(n) {
    state = state * 16807 % 2147483647
    return int(state / 2147483647 * n)
}

function person() { return people[1 + random(n_people)] }
function place() { return places[1 + random(n_places)] }

# Draws a road of `least` to `most` different places into road[1 .. n_stops].
function draw_road(least, most,    i, j, taken) {
    n_stops = least + random(most - least + 1)
    for (i = 1; i <= n_stops; i++) {
        do j = 1 + random(n_places)
        while (j in taken)
        taken[j]
        road[i] = places[j]
    }
}

# The places from one stop to another in the order of walking, backwards if the first comes later.
function stops(from, to,    i, step, text) {
    step = from < to ? 1 : -1
    text = road[from]
    for (i = from; i != to; i += step) text = text ", " road[i + step]
    return text
}

function road_there() { return stops(1, n_stops) }
function road_back() { return stops(n_stops, 1) }
