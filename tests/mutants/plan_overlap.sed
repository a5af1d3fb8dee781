# file: ggq/place.cpp
# test: random lifetimes*
s/blocks_\[j\]\.first > blocks_\[i\]\.last/blocks_[j].first >= blocks_[i].last/
