# file: ggq/program.cpp
# test: what the computing lane waits for pages is counted
s/t.stalled_seconds += waited;//
