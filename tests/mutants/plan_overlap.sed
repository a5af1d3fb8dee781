# file: ggq/plan.cpp
# test: random lifetimes*
s/blocks\[j\]\.first > blocks\[i\]\.last/blocks[j].first >= blocks[i].last/
