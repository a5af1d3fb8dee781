# file: ggq/graph.cpp
# test: a state that was overwritten cannot be read*
s/if (by < 0) return;/if (by < 1000) return;/
