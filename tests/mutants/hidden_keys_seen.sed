# file: kernels/cpu/attention.cpp
# test: nothing of another document leaks*
s/(key < rows\.end\[i\])/(key < rows.end[i] + 1)/
