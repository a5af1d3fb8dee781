# file: ggq/backward.cpp
# test: a gradient that reaches an output*
s/require(taken_\[i\] ||/require(taken_[i] || i > 0 ||/
