# file: ggq/backward.cpp
# test: a tensor that is used twice*
s/sum = sum ? add(sum, gradient) : gradient;/sum = gradient;/
