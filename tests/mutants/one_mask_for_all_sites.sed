# file: kernels/cpu/dropout_mask.h
# test: an op agrees with its form composed*
s/<< 32 | params\.site,/<< 32,/
