# file: kernels/cpu/attention.cpp
# test: nothing of another document leaks*
s/(rows\.begin\[i\] <= key) \& /(rows.begin[i] <= key + 1) \& /
