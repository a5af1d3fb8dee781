# file: kernels/cpu/elementwise.cpp
# test: two micro-batches give the gradient of one batch*
s/y\[i\] += convert<T>(x\[i\])/y[i] = convert<T>(x[i])/
